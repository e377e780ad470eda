/**
 * Lists what an SSH agent holds, including keys that can't be used here, so that an error can name them.
 * Signing is left to ssh2. This file must not know which keys are wanted.
 */
import { connect } from "node:net";
import { type PublicKey, readString, typeOfBlob } from "./public-key.ts";

/** Message numbers of the agent protocol (draft-ietf-sshm-ssh-agent, section 6.1). */
const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const AGENT_TIMEOUT_MS = 3_000;
/** An agent's answer beyond this is nonsense. */
const MAX_ANSWER_BYTES = 1024 * 1024;

/** The agent's keys in its order; an Error says why there is no answer. Never rejects. Effects: one local connection. */
export function listAgentKeys(socketPath: string): Promise<readonly PublicKey[] | Error> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    let received = Buffer.alloc(0);
    const finish = (outcome: readonly PublicKey[] | Error): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(AGENT_TIMEOUT_MS, () => finish(new Error("the agent does not answer")));
    socket.on("error", finish);
    socket.on("close", () => finish(new Error("the agent closed the connection")));
    socket.on("connect", () => socket.write(Buffer.from([0, 0, 0, 1, REQUEST_IDENTITIES])));
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length > MAX_ANSWER_BYTES) return finish(new Error("the agent's answer has no end"));
      const body = readString(received, 0);
      if (body) finish(parseIdentities(body) ?? new Error("the agent's answer makes no sense"));
    });
  });
}

/** Reads the body of an identities answer; undefined if it is none. Pure. */
export function parseIdentities(body: Buffer): PublicKey[] | undefined {
  if (body.length < 5 || body[0] !== IDENTITIES_ANSWER) return undefined;
  const keys: PublicKey[] = [];
  let offset = 5;
  for (let left = body.readUInt32BE(1); left > 0; left--) {
    const blob = readString(body, offset);
    const comment = blob && readString(body, offset + 4 + blob.length);
    if (!blob || !comment) return undefined;
    offset += 8 + blob.length + comment.length;
    keys.push({ type: typeOfBlob(blob) ?? "unknown", blob, comment: comment.toString("utf8") });
  }
  return keys;
}
