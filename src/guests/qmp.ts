/**
 * A client of QEMU's monitor (QMP, docs/interop/qmp-spec.rst): one command at a time over a UNIX socket. Must not know what
 * is asked, nor of which guest.
 */
import { connect, type Socket } from "node:net";

export interface Qmp {
  /** What QEMU returned; rejects with its own words, or where the connection has ended. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>;
  close(): void;
  /** Resolves when the connection ends: QEMU did, or `close` was called. */
  readonly ended: Promise<void>;
}

/** QEMU answers at once; one that does not hangs. */
const ANSWER_PATIENCE_MS = 10_000;

/** Connects and leaves negotiation mode. Rejects where nobody listens. */
export async function connectQmp(path: string): Promise<Qmp> {
  const socket = await open(path);
  const waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  const fail = (): void => {
    for (const one of waiting.splice(0)) one.reject(new Error("QEMU ended the connection"));
  };
  const ended = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  void ended.then(fail);
  // The end is told by `close`.
  socket.on("error", () => {});
  let partial = "";
  socket.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = (partial + chunk).split("\n");
    partial = lines.pop() ?? "";
    for (const line of lines) {
      const answer = JSON.parse(line) as { return?: unknown; error?: { desc: string } };
      // The greeting, and events.
      if (!("return" in answer) && answer.error === undefined) continue;
      const one = waiting.shift();
      if (answer.error) one?.reject(new Error(answer.error.desc));
      else one?.resolve(answer.return);
    }
  });
  const execute: Qmp["execute"] = (command, args) =>
    new Promise((resolve, reject) => {
      if (socket.destroyed) return reject(new Error("QEMU ended the connection"));
      const timer = setTimeout(() => socket.destroy(), ANSWER_PATIENCE_MS);
      const settle =
        <T>(done: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          done(value);
        };
      waiting.push({ resolve: settle(resolve), reject: settle(reject) });
      socket.write(`${JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}) })}\n`);
    });
  await execute("qmp_capabilities");
  return { execute, ended, close: () => socket.destroy() };
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}
