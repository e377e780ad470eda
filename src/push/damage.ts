/**
 * A machine whose memory of what was pushed is damaged: what of it can still be read, and a new beginning where the
 * operator allows one. Must not know how a survey asks.
 */
import { type Manifest, parseManifest } from "../build/manifest.ts";
import { failure, type Result, success } from "../diagnostics.ts";
import { type Probe, unpackManifest } from "./probe.ts";
import type { OnPushEvent } from "./push-event.ts";
import { describeDamage } from "./safety-problems.ts";
import { callRemote, refusalOf } from "./session.ts";
import type { Transport } from "./transport.ts";

/**
 * Refuses a damaged machine, or, where `takeOver` allows it, has it forget its generations; then `ask` again. What it
 * owns it remembers, and all it forgets is kept aside there. Problem: `damaged-state`.
 */
export async function passDamage(
  transport: Transport,
  machine: string,
  probe: Probe,
  takeOver: boolean,
  ask: () => Promise<Result<Probe>>,
  onEvent: OnPushEvent,
): Promise<Result<Probe>> {
  if (probe.damaged.length === 0) return success(probe);
  if (!takeOver) return failure(describeDamage(machine, probe.damaged));
  const forgotten = await callRemote(transport, machine, "forget", [], { timeoutMs: 30_000 });
  if (!forgotten.ok) return forgotten;
  if (forgotten.value.done !== "ok") return failure(refusalOf(machine, "forget", forgotten.value));
  onEvent({
    kind: "note",
    text: `labctl's own files there were damaged (${probe.damaged.join("; ")}); they are kept in /usr/local/.labctl/damaged`,
  });
  return ask();
}

/** The manifest that a generation's own folder has, where the current one makes no sense. Undefined: neither does it. */
export async function keptManifest(
  transport: Transport,
  machine: string,
  number: number,
): Promise<Manifest | undefined> {
  const range = [String(number), String(number)];
  const answer = await callRemote(transport, machine, "manifests", range, { timeoutMs: 30_000 });
  if (!answer.ok) return undefined;
  const packed = answer.value.records.find(
    (r) => r.name === "data" && r.fields[0] === `manifest.${number}`,
  )?.data;
  const text = packed && unpackManifest(packed);
  return text === undefined ? undefined : parseManifest(text);
}
