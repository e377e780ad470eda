/** Fetches contents of files from a machine, in portions that fit into memory. Must not know what they are compared with. */
import type { FileEntry } from "../../build/manifest.ts";
import { type Result, success } from "../../diagnostics.ts";
import { callRemote } from "../session.ts";
import type { Transport } from "../transport.ts";

/** A portion's bytes; a larger file is not fetched. */
const PORTION_BYTES = 32 << 20;
const TIMEOUT_MS = 60_000;

/** Calls `onFile` once for each; `data` is undefined for a file that is too big, or that the machine can't read. */
export async function fetchContents(
  transport: Transport,
  machine: string,
  entries: readonly FileEntry[],
  onFile: (entry: FileEntry, data: Buffer | undefined) => void,
): Promise<Result<void>> {
  const portions: FileEntry[][] = [];
  let room = 0;
  for (const entry of entries) {
    if (entry.sizeBytes > PORTION_BYTES) {
      onFile(entry, undefined);
      continue;
    }
    if (entry.sizeBytes > room || portions.length === 0) {
      portions.push([]);
      room = PORTION_BYTES;
    }
    room -= entry.sizeBytes;
    portions.at(-1)?.push(entry);
  }
  for (const portion of portions) {
    const called = await callRemote(transport, machine, "read", [], {
      data: portion.map((e) => `${e.path}\n`).join(""),
      timeoutMs: TIMEOUT_MS,
    });
    if (!called.ok) return called;
    const found = new Map(
      called.value.records.flatMap((r) =>
        r.name === "file" && r.data ? [[r.fields[0] ?? "", r.data] as const] : [],
      ),
    );
    for (const entry of portion) onFile(entry, found.get(entry.path));
  }
  return success(undefined);
}
