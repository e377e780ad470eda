/**
 * Settles how a host is reached by asking `ssh -G`, so that every rule of ssh_config(5) (Include, Match, tokens,
 * first value wins) is OpenSSH's own. This file must not connect, nor know about keys' contents.
 */
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { failure, type Result, success } from "../../diagnostics.ts";
import { hasControlCharacter } from "../../paths.ts";
import type { SshTarget } from "../transport.ts";
import { describeProblem } from "./problems.ts";
import { type RunTool, runTool } from "./tool.ts";

/** Settled settings of one hop. Paths are absolute, tokens and `~` expanded. */
export interface SshSettings {
  /** As the user named it. */
  readonly host: string;
  /** What to resolve and connect to. */
  readonly hostName: string;
  readonly user: string;
  readonly port: number;
  /** `user@host:port` with the host as named, for messages. */
  readonly label: string;
  /** In order of trial. */
  readonly identityFiles: readonly IdentityFile[];
  /** Agent keys that match no identity file stay unused. */
  readonly identitiesOnly: boolean;
  /** The agent's socket; undefined: no agent. */
  readonly agentSocket?: string;
  /** Name under which known_hosts files keep the key: HostKeyAlias, or the host, as `[host]:port` off port 22. */
  readonly hostKeyName: string;
  /** Second name OpenSSH accepts a matching key under: the host without its port. Undefined: there is none. */
  readonly bareHostKeyName?: string;
  /** Empty: UserKnownHostsFile is `none`, so nothing can be remembered. */
  readonly userKnownHosts: readonly string[];
  readonly globalKnownHosts: readonly string[];
  /** StrictHostKeyChecking; `no` counts as `accept-new`, since a changed key is never accepted. */
  readonly unknownKey: "ask" | "refuse" | "accept-new";
  readonly hashKnownHosts: boolean;
  /** Undefined: ConnectTimeout is not set. */
  readonly connectTimeoutMs?: number;
  /** ProxyJump's hops, first to last, as written; empty: a direct connection. */
  readonly jumps: readonly string[];
  /** ProxyCommand as written; undefined: none. */
  readonly proxyCommand?: string;
  /** AddressFamily; 0: any. */
  readonly family: 0 | 4 | 6;
}

export interface IdentityFile {
  readonly path: string;
  /** `given` by machine.ini, `configured` in ssh_config, or one of OpenSSH's `default` names, often absent. */
  readonly source: "given" | "configured" | "default";
}

export interface ReadSettingsOptions {
  readonly configFile?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly run?: RunTool;
}

const DEFAULT_IDENTITY = /^~\/\.ssh\/id_(rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss)$/;

/** True for what may be handed to `ssh` as a host: it can't be read as an option and holds no blank or control. Pure. */
export function isHostArgument(host: string): boolean {
  return host !== "" && !host.startsWith("-") && !hasControlCharacter(host) && !/\s/.test(host);
}

/**
 * Asks `ssh -G` for a target's settings. Effects: one child process, and what `Match exec` in the user's own
 * configuration runs. Problems: `ssh-tool-missing`, `ssh-host-name`, `ssh-config`.
 */
export async function readSshSettings(
  target: SshTarget,
  options: ReadSettingsOptions,
): Promise<Result<SshSettings>> {
  if (!isHostArgument(target.host)) return failure(describeProblem({ kind: "host-name", host: target.host }));
  if (target.user !== undefined && !isHostArgument(target.user))
    return failure(describeProblem({ kind: "user-name", host: target.host, user: target.user }));
  const args = ["-G", "-T"];
  if (options.configFile !== undefined) args.push("-F", options.configFile);
  if (target.port !== undefined) args.push("-p", String(target.port));
  if (target.user !== undefined) args.push("-l", target.user);
  const outcome = await (options.run ?? runTool)("ssh", [...args, "--", target.host], options.env);
  if (outcome.kind === "missing") return failure(describeProblem({ kind: "tool-missing", tool: "ssh" }));
  if (outcome.kind === "timeout")
    return failure(
      describeProblem({
        kind: "config",
        host: target.host,
        detail: `no answer in ${outcome.afterMs / 1000} s`,
      }),
    );
  if (outcome.status !== 0)
    return failure(describeProblem({ kind: "config", host: target.host, detail: outcome.stderr.trim() }));
  return success(settle(target, parseSettings(outcome.stdout), options.env));
}

/** `key value` lines to values by lower-case key, in order. Pure. */
export function parseSettings(text: string): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const space = line.indexOf(" ");
    if (space < 0) continue;
    const key = line.slice(0, space).toLowerCase();
    const list = values.get(key);
    if (list) list.push(line.slice(space + 1));
    else values.set(key, [line.slice(space + 1)]);
  }
  return values;
}

/** `[user@]host[:port]` or `ssh://…`, one hop of ProxyJump (ssh_config(5)). Undefined: malformed. Pure. */
export function parseJump(text: string): SshTarget | undefined {
  const match =
    /^(?:ssh:\/\/)?(?:([^@]*)@)?(?:\[([^\]]+)\]|([^:[\]]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*))(?::(\d+))?\/?$/.exec(
      text.trim(),
    );
  const host = match?.[2] ?? match?.[3];
  if (!match || host === undefined) return undefined;
  const port = match[4] === undefined ? undefined : Number(match[4]);
  if (port !== undefined && (port < 1 || port > 65535)) return undefined;
  return {
    host,
    identityFiles: [],
    ...(match[1] ? { user: match[1] } : {}),
    ...(port === undefined ? {} : { port }),
  };
}

function settle(
  target: SshTarget,
  values: ReadonlyMap<string, readonly string[]>,
  env: Readonly<Record<string, string | undefined>>,
): SshSettings {
  const one = (key: string): string | undefined => values.get(key)?.[0];
  const hostName = one("hostname") ?? target.host;
  const user = one("user") ?? userInfo().username;
  const port = Number(one("port") ?? 22);
  const alias = one("hostkeyalias");
  const self = userInfo();
  const tokens: Readonly<Record<string, string>> = {
    "%": "%",
    d: self.homedir,
    h: hostName,
    i: String(self.uid),
    k: alias ?? target.host,
    l: hostname(),
    n: target.host,
    p: String(port),
    r: user,
    u: self.username,
  };
  const expand = (text: string): string => {
    const unquoted = text.replace(/^"(.*)"$/, "$1");
    const filled = unquoted
      .replace(/%(.)/g, (whole, letter: string) => tokens[letter] ?? whole)
      .replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string) => env[name] ?? "");
    return filled.startsWith("~/") ? join(self.homedir, filled.slice(2)) : filled;
  };
  const timeoutSeconds = Number(one("connecttimeout") ?? "none");
  const agent = agentSocket(one("identityagent"), env, expand);
  const jump = one("proxyjump");
  const proxy = one("proxycommand");
  const plainName = hostName.toLowerCase();
  return {
    host: target.host,
    hostName,
    user,
    port,
    label: `${user}@${target.host.replace(/^.*@/, "")}:${port}`,
    identityFiles: identityFiles(target, values.get("identityfile") ?? [], expand),
    identitiesOnly: one("identitiesonly") === "yes",
    ...(agent === undefined ? {} : { agentSocket: agent }),
    hostKeyName: alias ?? (port === 22 ? plainName : `[${plainName}]:${port}`),
    ...(alias === undefined && port !== 22 ? { bareHostKeyName: plainName } : {}),
    userKnownHosts: fileList(one("userknownhostsfile")).map(expand),
    globalKnownHosts: fileList(one("globalknownhostsfile")).map(expand),
    unknownKey: unknownKeyPolicy(one("stricthostkeychecking")),
    hashKnownHosts: one("hashknownhosts") === "yes",
    ...(Number.isFinite(timeoutSeconds) && timeoutSeconds > 0
      ? { connectTimeoutMs: timeoutSeconds * 1000 }
      : {}),
    jumps: jump === undefined || jump === "none" ? [] : jump.split(",").filter((hop) => hop !== ""),
    ...(proxy === undefined || proxy === "none" ? {} : { proxyCommand: proxy }),
    family: one("addressfamily") === "inet" ? 4 : one("addressfamily") === "inet6" ? 6 : 0,
  };
}

function identityFiles(
  target: SshTarget,
  configured: readonly string[],
  expand: (text: string) => string,
): IdentityFile[] {
  const files: IdentityFile[] = target.identityFiles.map((path) => ({ path: expand(path), source: "given" }));
  for (const raw of configured) {
    if (raw === "none") continue;
    const path = expand(raw);
    if (files.some((file) => file.path === path)) continue;
    files.push({ path, source: DEFAULT_IDENTITY.test(raw) ? "default" : "configured" });
  }
  return files;
}

function agentSocket(
  setting: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  expand: (text: string) => string,
): string | undefined {
  if (setting === "none") return undefined;
  if (setting === undefined || setting === "SSH_AUTH_SOCK") return env.SSH_AUTH_SOCK || undefined;
  if (/^\$[A-Za-z_]/.test(setting)) return env[setting.slice(1)] || undefined;
  return expand(setting);
}

/**
 * `ssh -G` joins the files with blanks and drops the quotes, so that a blank inside a name is told from one between
 * names only by what follows: every further name begins with `/`, `~`, `%`, `$` or a quote.
 */
function fileList(text: string | undefined): string[] {
  if (text === undefined || text === "none") return [];
  return text.split(/ (?=[/~%$"])/).filter((file) => file !== "none" && file !== "");
}

function unknownKeyPolicy(setting: string | undefined): SshSettings["unknownKey"] {
  if (setting === "yes" || setting === "true") return "refuse";
  if (setting === "accept-new" || setting === "no" || setting === "off" || setting === "false")
    return "accept-new";
  return "ask";
}
