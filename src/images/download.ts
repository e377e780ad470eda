/**
 * Brings a file from the network or from this machine's disk to a place in the store, hashed on its way, going on from what
 * is there already. curl talks to servers: it knows proxies, redirects and the system's certificates. Must not know what
 * the file is, nor whether its hash is the right one.
 */
import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import { freeBytes, stream } from "./host.ts";
import { describeImageProblem, size } from "./problems.ts";
import { type Head, readHeads } from "./response-head.ts";

export interface Download {
  /** http, https or file. */
  readonly url: string;
  /** Where it goes; what is there is gone on from. Beside it, `FILE.tag`: which version of the source that is. */
  readonly file: string;
  /** Bytes needed beside the file's own, by what for; with the file's size, they are the sum that must be free. */
  readonly spare: (fileBytes: number) => readonly { readonly what: string; readonly bytes: number }[];
  /** `total` undefined: the source does not say. */
  readonly onProgress: (done: number, total: number | undefined) => void;
  /** The connection was lost, or there is none yet; another is tried. */
  readonly onRetry: (why: string) => void;
}

export interface Fetched {
  /** Lower-case hexadecimal. */
  readonly sha256: string;
  readonly sizeBytes: number;
  /** True if its beginning came in an earlier run. */
  readonly resumed: boolean;
}

/** Connections lost one after the other without a byte in between. */
const MOST_FRUITLESS = 6;
const CURL = [
  "curl",
  "--silent",
  "--show-error",
  "--include",
  "--suppress-connect-headers",
  "--location",
  "--globoff",
  "--connect-timeout",
  "20",
  // Not a byte a second for half a minute is a lost connection.
  "--speed-limit",
  "1",
  "--speed-time",
  "30",
];

/** Fetches, again and again from where it broke off; a failure keeps what came. */
export async function download(wish: Download): Promise<Result<Fetched>> {
  const state = { fd: openSync(wish.file, "a+", 0o600), hash: createHash("sha256"), have: 0 };
  const resumed = existsSync(tagFile(wish.file));
  try {
    const done = wish.url.startsWith("file://") ? await readLocal(wish, state) : await readWeb(wish, state);
    if (!done.ok) return done;
    fsyncSync(state.fd);
    rmSync(tagFile(wish.file), { force: true });
    return success({ sha256: state.hash.digest("hex"), sizeBytes: state.have, resumed });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    const problem = spaceProblem(wish, state.have, []);
    // Others need the disk, too, and there is no room for the rest of it.
    restart(state);
    rmSync(tagFile(wish.file), { force: true });
    return failure(problem);
  } finally {
    closeSync(state.fd);
  }
}

/** A text of at most a few megabytes: a list of checksums, a signature. */
export async function downloadSmall(url: string): Promise<Result<Buffer>> {
  const absent = (why: string): Result<Buffer> =>
    failure(describeImageProblem({ kind: "image-source-absent", source: url, why }));
  if (url.startsWith("file://")) {
    try {
      return success(readFileSync(url.slice("file://".length)));
    } catch (error) {
      return absent((error as Error).message);
    }
  }
  const plain = CURL.filter((word) => word !== "--include");
  const asked = stream([...plain, "--fail", "--retry", "3", "--max-filesize", "16M", ...protocols(url), url]);
  const chunks: Buffer[] = [];
  for await (const chunk of asked.chunks) chunks.push(chunk);
  const { status, stderr } = await asked.end;
  return status === 0 ? success(Buffer.concat(chunks)) : absent(stderr.trim());
}

interface State {
  readonly fd: number;
  hash: Hash;
  have: number;
}

async function readLocal(wish: Download, state: State): Promise<Result<undefined>> {
  const path = wish.url.slice("file://".length);
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isFile())
    return absent(
      wish,
      found ? "it is no file" : "there is no such file, or not for this service (see ProtectHome=)",
    );
  restart(state);
  const room = checkRoom(wish, found.size, 0);
  if (!room.ok) return room;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    take(state, chunk);
    wish.onProgress(state.have, found.size);
  }
  return success(undefined);
}

async function readWeb(wish: Download, state: State): Promise<Result<undefined>> {
  await takeUp(wish, state);
  for (let fruitless = 0; ; ) {
    const before = state.have;
    const tried = await readOnce(wish, state);
    if (tried === "whole") return success(undefined);
    if (typeof tried === "object" && !("why" in tried)) return tried;
    fruitless = state.have > before ? 0 : fruitless + 1;
    const why = typeof tried === "object" ? tried.why : tried;
    if (fruitless >= MOST_FRUITLESS) return absent(wish, why);
    wish.onRetry(why);
    await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** fruitless));
  }
}

/** What a former run left is hashed, if its version is known; else it is thrown away. */
async function takeUp(wish: Download, state: State): Promise<void> {
  restartHash(state);
  const there = statSync(wish.file).size;
  if (there === 0) return;
  if (!existsSync(tagFile(wish.file))) return restart(state);
  for await (const chunk of createReadStream(wish.file, {
    highWaterMark: 1 << 20,
  }) as AsyncIterable<Buffer>) {
    state.hash.update(chunk);
    state.have += chunk.length;
  }
}

/** One connection. `whole`: that was all; `why`: it broke off, and another may help; a failure: no other will. */
async function readOnce(
  wish: Download,
  state: State,
): Promise<"whole" | { readonly why: string } | Result<undefined>> {
  const tag = existsSync(tagFile(wish.file)) ? readFileSync(tagFile(wish.file), "utf8") : "";
  const range = state.have > 0 ? ["--range", `${state.have}-`] : [];
  // Another version of the file comes whole, instead of a piece that does not fit (RFC 9110, 13.1.5).
  const condition = range.length > 0 && tag !== "" ? ["--header", `If-Range: ${tag}`] : [];
  const asked = stream([...CURL, ...protocols(wish.url), ...range, ...condition, wish.url]);
  const stop = (): void => {
    asked.child.kill("SIGKILL");
  };
  let pending: Buffer = Buffer.alloc(0);
  let head: Head | undefined;
  let total: number | undefined;
  for await (const chunk of asked.chunks) {
    let body = chunk;
    if (head === undefined) {
      pending = Buffer.concat([pending, chunk]);
      const read = readHeads(pending);
      if (read === undefined) continue;
      head = read.head;
      body = read.rest;
      const verdict = judge(wish, state, head);
      if (verdict !== "body") {
        stop();
        await asked.end;
        return verdict;
      }
      total = head.length === undefined ? undefined : state.have + head.length;
      const room = total === undefined ? success(undefined) : checkRoom(wish, total, state.have);
      if (!room.ok) {
        stop();
        return room;
      }
      writeFileSync(tagFile(wish.file), head.tag);
    }
    try {
      take(state, body);
    } catch (error) {
      stop();
      throw error;
    }
    wish.onProgress(state.have, total);
  }
  const { status, stderr } = await asked.end;
  if (status === 0 && head !== undefined && (total === undefined || total === state.have)) return "whole";
  return { why: stderr.trim().replace(/^curl: /, "") || "the connection broke off" };
}

/** What an answer means; brings `state` in line with where its body begins. */
function judge(
  wish: Download,
  state: State,
  head: Head,
): "body" | "whole" | { readonly why: string } | Result<undefined> {
  if (head.status === 206 && head.from === state.have) return "body";
  if (head.status === 200) {
    // Also from a server that knows no ranges.
    if (state.have > 0) restart(state);
    return "body";
  }
  if (head.status === 416 && state.have > 0 && head.whole === state.have) return "whole";
  if (head.status === 206 || head.status === 416) {
    restart(state);
    return { why: `its answer ${head.status} does not fit what was asked` };
  }
  const why = `the server answered ${head.status}`;
  return head.status >= 500 || head.status === 429 || head.status === 408 ? { why } : absent(wish, why);
}

/** Not from https to what anybody on the way can change, were there a signature or not. */
function protocols(url: string): readonly string[] {
  const allowed = url.startsWith("https:") ? "=https" : "=http,https";
  return ["--proto", allowed, "--proto-redir", allowed];
}

function take(state: State, chunk: Buffer): void {
  for (let at = 0; at < chunk.length; ) at += writeSync(state.fd, chunk, at);
  state.hash.update(chunk);
  state.have += chunk.length;
}

function restart(state: State): void {
  ftruncateSync(state.fd, 0);
  restartHash(state);
}

function restartHash(state: State): void {
  state.hash = createHash("sha256");
  state.have = 0;
}

function checkRoom(wish: Download, total: number, have: number): Result<undefined> {
  const parts = [{ what: "the rest of the file", bytes: total - have }, ...wish.spare(total)];
  const needed = parts.reduce((sum, part) => sum + part.bytes, 0);
  if (needed <= freeBytes(dirname(wish.file))) return success(undefined);
  return failure(spaceProblem(wish, needed, parts));
}

function spaceProblem(
  wish: Download,
  neededBytes: number,
  parts: readonly { readonly what: string; readonly bytes: number }[],
): Diagnostic {
  const folder = dirname(wish.file);
  const known = parts.map(({ what, bytes }) => `${what}: ${size(bytes)}`);
  const said = known.length > 0 ? known : ["the disk became full on the way; what came was removed again"];
  const free = freeBytes(folder);
  return describeImageProblem({ kind: "image-space", folder, neededBytes, freeBytes: free, parts: said });
}

function absent(wish: Download, why: string): Result<undefined> {
  return failure(describeImageProblem({ kind: "image-source-absent", source: wish.url, why }));
}

function tagFile(file: string): string {
  return `${file}.tag`;
}
