/**
 * When a virtual machine that runs ran its first instruction, by what QEMU writes of its states. Must not know who asks.
 */
import { closeSync, constants, openSync, readSync, statSync } from "node:fs";
import { STATES_FILE } from "./qemu-arguments.ts";
import { nowUs } from "./unit-calls.ts";
import { VM_PREPARED, VM_RUN } from "./vm-start.ts";

/** The first line is what counts. */
const LOOKED_AT_BYTES = 4096;

/** When the guest's first instruction ran, in microseconds of Unix time, by the text of `STATES_FILE`; undefined: not yet. Pure. */
export function parseFirstInstruction(text: string): number | undefined {
  const [, seconds, micros] = /^\d+@(\d{1,11})\.(\d{6}):vm_state_notify running 1 /m.exec(text) ?? [];
  return seconds === undefined ? undefined : Number(seconds) * 1e6 + Number(micros);
}

/** The same of a guest by its name, on the clock of `nowUs`; undefined: not yet, or QEMU does not say. Reads the disk. */
export function firstInstructionUs(guest: string): number | undefined {
  try {
    // The guest's user may have put there what he likes.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = openSync(`${VM_RUN}/${guest}/${STATES_FILE}`, flags);
    const text = Buffer.alloc(LOOKED_AT_BYTES);
    const length = readSync(file, text, 0, LOOKED_AT_BYTES, 0);
    closeSync(file);
    const at = parseFirstInstruction(text.toString("latin1", 0, length));
    return at === undefined ? undefined : at - Date.now() * 1000 + nowUs();
  } catch {
    return undefined;
  }
}

/** When all was there that QEMU is started with, on the clock of `nowUs`; undefined: it is not. Reads the disk. */
export function preparedUs(guest: string): number | undefined {
  try {
    return statSync(`${VM_PREPARED}/${guest}`).mtimeMs * 1000 - Date.now() * 1000 + nowUs();
  } catch {
    return undefined;
  }
}
