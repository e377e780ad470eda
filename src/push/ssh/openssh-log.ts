/**
 * Reads what `ssh -v` says while it connects: how far it came, which keys it offered, and why it gave up. The words
 * are OpenSSH's (sshconnect.c, sshconnect2.c, channels.c; the same from 8.4 to 10). Pure.
 */
import { shortName } from "./public-key.ts";

export type ConnectFailure =
  | { readonly kind: "refused" | "unresolvable" | "timeout"; readonly behindJump: boolean }
  | { readonly kind: "unreachable"; readonly detail: string; readonly behindJump: boolean }
  | { readonly kind: "key-changed" | "key-revoked" | "key-unknown" }
  | { readonly kind: "auth"; readonly detail?: string }
  | { readonly kind: "config"; readonly detail: string }
  | { readonly kind: "handshake"; readonly detail: string };

export interface ConnectLog {
  /** What it was doing last, as a phrase after "it was still". */
  readonly stage: string;
  /** Hops that logged in, jump hosts included. */
  readonly authenticated: number;
  /** The last host key shown, `TYPE SHA256:…`; undefined: none yet. */
  readonly presented?: string;
  /** Keys offered to the last hop. */
  readonly tried: readonly string[];
  /** Keys that could not be used, with ssh's reason. */
  readonly skipped: readonly string[];
  /** A known_hosts file that an accepted key could not be written to. */
  readonly notRemembered?: string;
  /** What ssh said apart from its debug output, in order. */
  readonly said: readonly string[];
}

/** Sums up the whole log. Pure. */
export function readConnectLog(text: string): ConnectLog {
  let stage = "opening the connection";
  let authenticated = 0;
  let presented: string | undefined;
  let notRemembered: string | undefined;
  let tried: string[] = [];
  const skipped: string[] = [];
  const said: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    const debug = /^debug\d: (.*)$/.exec(line)?.[1];
    if (debug === undefined) {
      const unwritten = /^Failed to add the host to the list of known hosts \((.*)\)/.exec(line);
      const unusable = /^Warning: Identity file (.*) not accessible: (.*?)\.?$/.exec(line);
      const locked = /^Load key "(.*)": (.*)$/.exec(line);
      if (unwritten) notRemembered = unwritten[1];
      else if (unusable)
        skipped.push(`${unusable[1]}: ${unusable[2]?.replace("No such file or directory", "no such file")}`);
      else if (locked) skipped.push(`${locked[1]}: ${locked[2]}`);
      else if (/^Authenticated to /.test(line)) {
        authenticated++;
        tried = [];
        stage = "opening the connection behind the jump host";
      } else if (line.trim() !== "") said.push(line);
      continue;
    }
    const key = /^Server host (?:key|certificate): (\S+) (SHA256:\S+)/.exec(debug);
    const offer =
      /^Offering public key: (.*) (\S+) (SHA256:\S+)((?: (?:explicit|agent|token|authenticator))*)$/.exec(
        debug,
      );
    if (/^(Connection established|Executing proxy command)/.test(debug))
      stage = "waiting for the SSH greeting and key exchange";
    else if (key?.[1] && key[2]) {
      presented = `${shortName(key[1])} ${key[2]}`;
      stage = "checking the host key";
    } else if (/^(SSH2_MSG_SERVICE_ACCEPT received|Authentications that can continue)/.test(debug))
      stage = "authenticating";
    else if (offer) {
      const origin = offer[4]?.includes("agent") ? `the agent (${offer[1]})` : offer[1];
      tried.push(`${offer[2]} ${offer[3]} from ${origin}`);
    }
  }
  return {
    stage,
    authenticated,
    ...(presented === undefined ? {} : { presented }),
    tried,
    skipped,
    ...(notRemembered === undefined ? {} : { notRemembered }),
    said,
  };
}

/** Why ssh gave up. Pure. */
export function judgeConnectLog(log: ConnectLog): ConnectFailure {
  const find = (pattern: RegExp): RegExpExecArray | undefined => {
    for (const line of log.said) {
      const match = pattern.exec(line);
      if (match) return match;
    }
    return undefined;
  };
  if (find(/REVOKED HOST KEY|[Hh]ost key .*revoked/)) return { kind: "key-revoked" };
  if (find(/HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed/)) return { kind: "key-changed" };
  if (find(/^(Host key verification failed|No \S+ host key is known)/)) return { kind: "key-unknown" };
  // "stdio forwarding" is ProxyJump's: then the jump host speaks of what it found.
  const reach = find(
    /^ssh: (connect to (?:host|address) .* port \d+|Could not resolve hostname .*?): (.*)$|^channel \d+: open failed: (connect failed): (.*)$/,
  );
  if (reach) {
    const detail = (reach[2] ?? reach[4] ?? "").trim();
    const behindJump = reach[3] !== undefined;
    if (reach[1]?.startsWith("Could not resolve") || /Name or service not known|name resolution/.test(detail))
      return { kind: "unresolvable", behindJump };
    if (/refused/i.test(detail)) return { kind: "refused", behindJump };
    if (/timed out/i.test(detail)) return { kind: "timeout", behindJump };
    return { kind: "unreachable", behindJump, detail };
  }
  if (find(/timed out/)) return { kind: "timeout", behindJump: false };
  const many = find(/Too many authentication failures/);
  if (many) return { kind: "auth", detail: many[0] };
  if (find(/Permission denied \(|No more authentication methods/)) return { kind: "auth" };
  const config = find(
    /(Bad configuration option|terminating, \d+ bad configuration|Bad owner or permissions)/,
  );
  if (config) return { kind: "config", detail: config.input };
  const detail = log.said.at(-1) ?? "ssh ended without a word";
  return log.stage === "authenticating" ? { kind: "auth", detail } : { kind: "handshake", detail };
}
