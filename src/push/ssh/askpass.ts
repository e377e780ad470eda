/**
 * Brings what the system's `ssh` asks for (passphrase, PIN, an unknown host key) to whoever answers in this process,
 * by ssh's own way for programs without a terminal: SSH_ASKPASS (ssh(1), ENVIRONMENT). An answer travels through a
 * socket in a private folder, never through arguments or environment. This file must not know the answers.
 */
import { writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";

/** `hint` is SSH_ASKPASS_PROMPT: `confirm`, `none` (nothing to answer), or empty. Undefined: no answer. */
export type AnswerPrompt = (prompt: string, hint: string) => Promise<string | undefined>;

export interface Askpass {
  /** What ssh's environment must hold. */
  readonly env: Readonly<Record<string, string>>;
  close(): void;
}

/** Longer than anything that ssh asks. */
const MAX_QUESTION_BYTES = 64 * 1024;

/** Run by node in a process that ssh starts: asks, prints the answer, and fails without one. */
const PROGRAM = `
const socket = require("node:net").connect(process.env.LABCTL_ASKPASS_SOCKET);
const question = { prompt: process.argv[1] ?? "", hint: process.env.SSH_ASKPASS_PROMPT ?? "" };
let answer = "";
socket.on("error", () => process.exit(1));
socket.on("data", (chunk) => { answer += chunk; });
socket.on("end", () => {
  if (!answer.startsWith("=")) process.exit(1);
  process.stdout.write(answer.slice(1) + "\\n");
});
socket.write(JSON.stringify(question) + "\\n");
`;

/** Starts listening in a folder that only this user may enter; the caller removes the folder. Effects: two files in it. */
export async function startAskpass(folder: string, answer: AnswerPrompt): Promise<Askpass> {
  const script = join(folder, "askpass");
  const path = join(folder, "ask");
  const quoted = [process.execPath, PROGRAM].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  await writeFile(script, `#!/bin/sh\nexec ${quoted[0]} -e ${quoted[1]} -- "$@"\n`, { mode: 0o700 });
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (text.length > MAX_QUESTION_BYTES) return socket.destroy();
      if (!text.endsWith("\n")) return;
      readQuestion(text, answer).then(
        (said) => socket.end(said === undefined ? "" : `=${said}`),
        () => socket.destroy(),
      );
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  return {
    env: { SSH_ASKPASS: script, SSH_ASKPASS_REQUIRE: "force", LABCTL_ASKPASS_SOCKET: path },
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

async function readQuestion(text: string, answer: AnswerPrompt): Promise<string | undefined> {
  const question: unknown = JSON.parse(text);
  if (typeof question !== "object" || question === null) return undefined;
  const { prompt, hint } = question as { readonly prompt?: unknown; readonly hint?: unknown };
  return typeof prompt === "string" && typeof hint === "string" ? answer(prompt, hint) : undefined;
}
