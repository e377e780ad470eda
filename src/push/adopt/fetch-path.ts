/** Reads one path of a machine's tree, labctl's or not. Changes nothing. */
import { type Result, success } from "../../diagnostics.ts";
import type { LivePath } from "../live/live-answer.ts";
import { callRemote } from "../session.ts";
import type { Transport } from "../transport.ts";

const TIMEOUT_MS = 60_000;
const KINDS: Readonly<Record<string, string>> = { file: "f", dir: "d", link: "l", other: "?" };

/** What stands there; undefined: nothing, or it can't be told. */
export async function statPath(
  transport: Transport,
  machine: string,
  path: string,
): Promise<Result<LivePath | undefined>> {
  // No content is asked for: the limits are for those who do.
  const called = await callRemote(transport, machine, "contents", ["0", "0"], {
    data: `sum\t0\t${path}\n`,
    timeoutMs: TIMEOUT_MS,
  });
  if (!called.ok) return called;
  const stat = called.value.records.find((r) => r.name === "stat" && r.fields[1] === path);
  const [, , kind = "", mode = "", owner = "", group = "", size = ""] = stat?.fields ?? [];
  const type = KINDS[kind];
  if (type === undefined || !/^[0-7]{1,5}$/.test(mode) || !/^\d{1,20}$/.test(size)) return success(undefined);
  return success({
    type,
    mode: Number.parseInt(mode, 8),
    owner,
    group,
    sizeBytes: Number(size),
    changedAtS: 0,
    written: true,
    target: "",
  });
}

/** A file's bytes; undefined: it can't be read, or is no file any more. The caller looked at its size before. */
export async function fetchFile(
  transport: Transport,
  machine: string,
  path: string,
): Promise<Result<Buffer | undefined>> {
  const called = await callRemote(transport, machine, "read", [], {
    data: `${path}\n`,
    timeoutMs: TIMEOUT_MS,
  });
  if (!called.ok) return called;
  return success(called.value.records.find((r) => r.name === "file" && r.fields[0] === path)?.data);
}
