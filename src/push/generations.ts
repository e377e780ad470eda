/** A machine's generations, as its own `meta` files tell them. */
import type { Result } from "../diagnostics.ts";
import { success } from "../diagnostics.ts";
import type { GenerationId } from "../paths.ts";
import { callRemote } from "./session.ts";
import type { Transport } from "./transport.ts";

export interface Generation {
  readonly number: number;
  readonly id: GenerationId;
  /** Seconds since 1970, by the machine's clock. */
  readonly time: number;
  /** `user@host` of the pusher. */
  readonly by: string;
  /** Git commit of the repository; undefined if it had none. */
  readonly commit: string | undefined;
  readonly dirty: boolean;
  /** The repository's identity; undefined: its pusher named none. */
  readonly repository: string | undefined;
  readonly message: string | undefined;
  /** `no`: it waits to be confirmed, or was pushed just now; `unasked`; otherwise the time of confirmation. */
  readonly confirmed: string;
  /** The generation whose tree this one brought back. */
  readonly rollbackTo: number | undefined;
  /** Files and links that it changed, and unit actions. Undefined: pushed before these were counted. */
  readonly files: number | undefined;
  readonly units: number | undefined;
  /** Paths that this generation replaced or removed while they were not what the one before had put there. */
  readonly drifted: ReadonlySet<string>;
}

/** Oldest first; the last one is current. Empty: nothing was ever pushed. */
export async function listGenerations(
  transport: Transport,
  machine: string,
): Promise<Result<readonly Generation[]>> {
  const answer = await callRemote(transport, machine, "list", []);
  if (!answer.ok) return answer;
  const byNumber = new Map<number, Map<string, string>>();
  const drifted = new Map<string, Set<string>>();
  for (const record of answer.value.records) {
    if (record.name !== "meta") continue;
    const [number = "", line = ""] = record.fields;
    const at = line.indexOf("=");
    if (!/^[1-9]\d{0,8}$/.test(number) || at < 1) continue;
    const values = byNumber.get(Number(number)) ?? new Map<string, string>();
    const [key, value] = [line.slice(0, at), line.slice(at + 1)];
    if (key === "drifted") drifted.set(number, (drifted.get(number) ?? new Set()).add(value));
    else values.set(key, value);
    byNumber.set(Number(number), values);
  }
  return success(
    [...byNumber]
      .sort(([a], [b]) => a - b)
      .map(([number, values]) => generationOf(number, values, drifted.get(String(number)) ?? new Set())),
  );
}

function countOf(text: string | undefined): number | undefined {
  return /^\d{1,9}$/.test(text ?? "") ? Number(text) : undefined;
}

function generationOf(
  number: number,
  values: ReadonlyMap<string, string>,
  drifted: ReadonlySet<string>,
): Generation {
  const rollback = Number(values.get("rollback"));
  return {
    number,
    id: (values.get("id") ?? "") as GenerationId,
    time: Number(values.get("time")) || 0,
    by: values.get("by") ?? "",
    commit: values.get("commit"),
    dirty: values.get("dirty") === "yes",
    repository: values.get("repository") || undefined,
    message: values.get("message"),
    confirmed: values.get("confirmed") ?? "",
    rollbackTo: rollback > 0 ? rollback : undefined,
    files: countOf(values.get("files")),
    units: countOf(values.get("units")),
    drifted,
  };
}
