/**
 * Signatures and lists of checksums: which bytes a publisher stands for. sqv checks OpenPGP signatures, as Debian's apt does
 * from trixie on. Must not know how files are fetched.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { hostEffects } from "../guests/fork-effects.ts";
import { describeImageProblem } from "./problems.ts";

/** A digest as a list of checksums gives it. */
export interface ListedDigest {
  readonly algorithm: "sha256" | "sha512";
  /** Lower case. */
  readonly hex: string;
}

/** The digest of `name` in a list as sha256sum(1) and sha512sum(1) write it; undefined: it is not there. Pure. */
export function digestIn(list: string, name: string): ListedDigest | undefined {
  for (const line of list.split("\n")) {
    const [, hex = "", file = ""] = /^([0-9a-fA-F]{64}|[0-9a-fA-F]{128}) [ *](.+?)\r?$/.exec(line) ?? [];
    if (file.replace(/^\.\//, "") !== name || hex === "") continue;
    return { algorithm: hex.length === 64 ? "sha256" : "sha512", hex: hex.toLowerCase() };
  }
  return undefined;
}

/**
 * Succeeds if some key of `keyring` made the detached signature. `of` is for the message; `work` an existing
 * folder for a file that lives as long as this call.
 */
export async function checkSignature(
  signed: { readonly file: string } | { readonly bytes: Buffer },
  signature: Buffer,
  keyring: string,
  of: string,
  work: string,
): Promise<Result<undefined>> {
  const refuse = (output: string): Result<undefined> =>
    failure(describeImageProblem({ kind: "image-signature", of, keyring, output }));
  if (!existsSync(keyring)) return refuse("there is no such keyring");
  const folder = mkdtempSync(join(work, "signature-"));
  try {
    const detached = join(folder, "signature");
    writeFileSync(detached, signature);
    const file = "file" in signed ? signed.file : join(folder, "signed");
    if ("bytes" in signed) writeFileSync(file, signed.bytes);
    const end = await hostEffects.run(["sqv", "--keyring", keyring, detached, file]);
    return end.status === 0 ? success(undefined) : refuse(end.stderr);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
