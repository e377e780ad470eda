/** What the words of `ssh -v` are taken for; logs as OpenSSH 9.2 and 10 write them. */
import assert from "node:assert/strict";
import test from "node:test";
import { type ConnectFailure, judgeConnectLog, readConnectLog } from "../../src/push/ssh/openssh-log.ts";

const PRINT = "SHA256:f4nT94gyDmfnp4DVXqvldUnRbIH1T33xx+Oi9jiDucU";

test("each way to give up is told apart by ssh's own words", () => {
  const cases: readonly (readonly [string, ConnectFailure])[] = [
    ["ssh: connect to host gw.lan port 22: Connection refused", { kind: "refused", behindJump: false }],
    [
      "ssh: Could not resolve hostname gw.lan: Temporary failure in name resolution",
      { kind: "unresolvable", behindJump: false },
    ],
    [
      "ssh: connect to host gw.lan port 22: No route to host",
      { kind: "unreachable", behindJump: false, detail: "No route to host" },
    ],
    ["ssh: connect to host gw.lan port 22: Connection timed out", { kind: "timeout", behindJump: false }],
    ["Connection timed out during banner exchange", { kind: "timeout", behindJump: false }],
    [
      "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed",
      { kind: "refused", behindJump: true },
    ],
    [
      "channel 0: open failed: connect failed: Name or service not known\nstdio forwarding failed",
      { kind: "unresolvable", behindJump: true },
    ],
    [
      "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
      { kind: "key-changed" },
    ],
    ["@ WARNING: REVOKED HOST KEY DETECTED! @\nHost key verification failed.", { kind: "key-revoked" }],
    [
      "No ED25519 host key is known for gw.lan and you have requested strict checking.\nHost key verification failed.",
      { kind: "key-unknown" },
    ],
    ["root@gw.lan: Permission denied (publickey,password).", { kind: "auth" }],
    [
      "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures",
      { kind: "auth", detail: "Too many authentication failures" },
    ],
    [
      "kex_exchange_identification: Connection closed by remote host",
      { kind: "handshake", detail: "kex_exchange_identification: Connection closed by remote host" },
    ],
    ["", { kind: "handshake", detail: "ssh ended without a word" }],
  ];
  for (const [text, expected] of cases)
    assert.deepEqual(judgeConnectLog(readConnectLog(text.replaceAll("\n", "\r\n"))), expected, text);
});

test("debug lines are no refusal, whatever they say", () => {
  const log = readConnectLog("debug1: connect to address ::1 port 22: Connection refused\r\nbye\r\n");
  assert.deepEqual(judgeConnectLog(log), { kind: "handshake", detail: "bye" });
});

test("keys are listed for the last hop, with where they came from; a closed connection then is a refused login", () => {
  const log = readConnectLog(
    [
      "debug1: Connection established.",
      `debug1: Server host key: ssh-rsa ${PRINT}`,
      `debug1: Offering public key: /home/a b/jump RSA ${PRINT}`,
      'Authenticated to jump.lan ([10.0.0.1]:22) using "publickey".',
      `debug1: Server host key: ssh-ed25519 ${PRINT}`,
      "debug1: SSH2_MSG_SERVICE_ACCEPT received",
      `debug1: Offering public key: me@desk ED25519 ${PRINT} agent`,
      `debug1: Offering public key: /home/a b/key ED25519-CERT ${PRINT} explicit`,
      "Warning: Identity file /absent not accessible: No such file or directory.",
      "Connection closed by 10.0.0.2 port 22",
    ].join("\r\n"),
  );
  assert.deepEqual(log, {
    stage: "authenticating",
    authenticated: 1,
    presented: `ED25519 ${PRINT}`,
    tried: [`ED25519 ${PRINT} from the agent (me@desk)`, `ED25519-CERT ${PRINT} from /home/a b/key`],
    skipped: ["/absent: no such file"],
    said: ["Connection closed by 10.0.0.2 port 22"],
  });
  assert.deepEqual(judgeConnectLog(log), { kind: "auth", detail: "Connection closed by 10.0.0.2 port 22" });
});
