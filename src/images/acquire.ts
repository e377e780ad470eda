/**
 * Brings what a definition means into the store, proved: fetched, continued, or there already. Nothing enters the store that
 * was not checked. Must not know what is made of it.
 */
import { chmodSync, existsSync, renameSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { checkSignature, digestIn, type ListedDigest } from "./checksums.ts";
import type { ImageDefinition, ImageProof } from "./definition.ts";
import { download, downloadSmall, type Fetched } from "./download.ts";
import type { Teller } from "./host.ts";
import { describeImageProblem, size } from "./problems.ts";
import { keyOf, place, readResolved, type Store, writeResolved } from "./store.ts";
import { hashFile } from "./unpack.ts";

export interface Acquired {
  readonly sha256: string;
  /** True if its bytes were hashed in this very run. */
  readonly fresh: boolean;
}

/** The digest of a definition's content, where that is known without asking anybody. */
export function knownDigest(store: Store, definition: ImageDefinition): string | undefined {
  if (definition.proof.kind === "sha256") return definition.proof.sha256;
  return readResolved(store, keyOf(definition));
}

/** Fetches a single file, http, https or file, into the store. The caller holds the definition's lock. */
export async function acquireFile(
  store: Store,
  definition: ImageDefinition,
  url: string,
  tell: Teller,
): Promise<Result<Acquired>> {
  const known = knownDigest(store, definition);
  if (known !== undefined && existsSync(place.content(store, known)))
    return success({ sha256: known, fresh: false });
  const { name, proof } = definition;
  const wanted = await wantedDigest(store, proof, url);
  if (!wanted.ok) return wanted;
  const file = place.partial(store, known ?? keyOf(definition));
  for (;;) {
    const fetched = await download({
      url,
      file,
      spare: () => [],
      onProgress: progress(name, tell),
      onRetry: (why) => tell.status(`${name}: ${why}; trying again`),
    });
    if (!fetched.ok) return fetched;
    const proved = await prove(store, proof, wanted.value, file, fetched.value, url);
    if (proved.ok) {
      const { sha256 } = fetched.value;
      chmodSync(file, 0o444);
      renameSync(file, place.content(store, sha256));
      if (proof.kind !== "sha256") writeResolved(store, keyOf(definition), sha256);
      tell.line(`${name}: ${size(fetched.value.sizeBytes)} fetched and proved, sha256 ${sha256}`);
      return success({ sha256, fresh: true });
    }
    rmSync(file, { force: true });
    // Its beginning may be of another version, which a server without tags can't tell.
    if (!fetched.value.resumed) return proved;
    tell.line(`${name}: what an earlier start fetched does not fit; fetching all of it anew`);
  }
}

/** The digest that the proof asks for; undefined: a signature of the file itself decides. */
async function wantedDigest(
  store: Store,
  proof: ImageProof,
  url: string,
): Promise<Result<ListedDigest | undefined>> {
  if (proof.kind === "sha256") return success({ algorithm: "sha256", hex: proof.sha256 });
  if (proof.kind !== "sums") return success(undefined);
  const list = await downloadSmall(proof.sums);
  if (!list.ok) return list;
  const signature = await downloadSmall(proof.signature);
  if (!signature.ok) return signature;
  const signed = await checkSignature(
    { bytes: list.value },
    signature.value,
    proof.keyring,
    proof.sums,
    place.partial(store, ""),
  );
  if (!signed.ok) return signed;
  const file = decodeURIComponent(basename(url.startsWith("file:") ? url : new URL(url).pathname));
  const digest = digestIn(list.value.toString("utf8"), file);
  return digest
    ? success(digest)
    : failure(describeImageProblem({ kind: "image-sums", sums: proof.sums, file }));
}

async function prove(
  store: Store,
  proof: ImageProof,
  wanted: ListedDigest | undefined,
  file: string,
  fetched: Fetched,
  url: string,
): Promise<Result<undefined>> {
  if (wanted) {
    const { algorithm, hex } = wanted;
    const found = algorithm === "sha256" ? fetched.sha256 : await hashFile(file, algorithm);
    if (found === hex) return success(undefined);
    return failure(
      describeImageProblem({ kind: "image-digest", source: url, algorithm, wanted: hex, found }),
    );
  }
  if (proof.kind !== "signature") return success(undefined);
  const signature = await downloadSmall(proof.signature);
  if (!signature.ok) return signature;
  return checkSignature({ file }, signature.value, proof.keyring, url, place.partial(store, ""));
}

/** `debian: 45 of 120 MB (37 %), 12.0 MB/s`, as it goes. */
function progress(name: string, tell: Teller): (done: number, total: number | undefined) => void {
  const startedAt = Date.now();
  let first: number | undefined;
  return (done, total) => {
    first ??= done;
    const seconds = (Date.now() - startedAt) / 1000;
    const rate = seconds > 0.5 ? `, ${size((done - first) / seconds)}/s` : "";
    const part =
      total === undefined
        ? size(done)
        : `${size(done)} of ${size(total)} (${Math.floor((100 * done) / Math.max(1, total))} %)`;
    tell.status(`${name}: fetched ${part}${rate}`);
  };
}
