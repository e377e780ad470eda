/** Questions to a person at a terminal: yes or no, and what must not be seen. Must not know what is asked for. */
import { readSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { type Keyring, keyring } from "../secrets/identity.ts";

/** True if somebody is there to answer. */
export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

let keys: Keyring | undefined;

/** The identity of whoever runs this, for secrets: one for a run. Asks for its passphrase on a terminal only. */
export function ownKeyring(): Keyring {
  keys ??= keyring(process.env, isInteractive() ? askSecret : undefined);
  return keys;
}

/** Asks a question that yes or no answers. */
export function askYesNo(question: string): Promise<boolean> {
  return new Promise((resolve) => {
    const reader = createInterface({ input: process.stdin, output: process.stderr });
    reader.question(`${question} [y/N] `, (answer) => {
      reader.close();
      resolve(/^y(es)?$/i.test(answer.trim()));
    });
  });
}

/** Reads a line without echo. */
export async function askSecret(prompt: string): Promise<string> {
  writeSync(2, prompt);
  process.stdin.setRawMode(true);
  try {
    let text = "";
    const piece = Buffer.alloc(1);
    for (;;) {
      let n = 0;
      try {
        n = readSync(0, piece, 0, 1, null);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
        continue;
      }
      const char = n === 0 ? "\r" : piece.toString("latin1");
      if (char === "\u0003") process.exit(130);
      if (char === "\r" || char === "\n") return Buffer.from(text, "latin1").toString("utf8");
      text = char === "\u007f" ? text.slice(0, -1) : text + char;
    }
  } finally {
    process.stdin.setRawMode(false);
    writeSync(2, "\n");
  }
}
