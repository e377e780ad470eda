/**
 * The back-end that stands on the system's `ssh`: everything that ssh can do (certificates, security keys, GSSAPI,
 * ProxyCommand, host certificates) works, since ssh does it. Owns how a connection comes up and how its refusals are
 * told; must not know what runs over the channels.
 */
import { rm } from "node:fs/promises";
import { type Diagnostic, failure, type Result, success } from "../../diagnostics.ts";
import type { ConnectOptions, SshTarget } from "../transport.ts";
import { type AnswerPrompt, startAskpass } from "./askpass.ts";
import { ChannelTransport } from "./channels.ts";
import { Deadline } from "./deadline.ts";
import { readKnownHost } from "./host-keys.ts";
import { OpenSshLink } from "./openssh-link.ts";
import { type ConnectFailure, type ConnectLog, judgeConnectLog, readConnectLog } from "./openssh-log.ts";
import { Master, makeSocketFolder } from "./openssh-master.ts";
import { describeProblem, LOCKED_KEY } from "./problems.ts";
import { readSshSettings, type SshSettings } from "./ssh-config.ts";

/**
 * Connects and logs in by `ssh -M`; `value` is ready for channels. The process ends with this one, also when this one
 * is killed. A changed host key is never accepted, whatever StrictHostKeyChecking says. A jump host is ssh's own
 * affair: its rules for host keys are those of the configuration. Warnings and problems are those of the built-in
 * client as far as ssh's words tell them apart. Effects: processes, a folder in the temporary folder, known_hosts, and
 * questions by `confirm` and `askSecret`.
 */
export async function connectOpenSsh(
  target: SshTarget,
  options: ConnectOptions,
): Promise<Result<ChannelTransport>> {
  const settled = await readSshSettings(target, options);
  if (!settled.ok) return settled;
  const settings = settled.value;
  const timeoutMs = Math.min(options.timeoutMs, settings.connectTimeoutMs ?? options.timeoutMs);
  const startedAt = performance.now();
  let late = false;
  const unanswered: Unanswered = { hostKey: "strict", passphrases: [] };
  let expire: () => void = () => {};
  const expired = new Promise<false>((resolve) => {
    expire = () => {
      late = true;
      resolve(false);
    };
  });
  const deadline = new Deadline(timeoutMs, expire);
  const folder = await makeSocketFolder();
  try {
    const askpass = await startAskpass(folder, answerPrompts(settings, options, deadline, unanswered));
    const env = { ...options.env, ...askpass.env };
    const master = new Master(folder, {
      target,
      configFile: options.configFile,
      env,
      strictHostKeyChecking: hostKeyPolicy(settings, options),
      passwords: options.askSecret !== undefined,
      timeoutMs: options.timeoutMs,
    });
    const ready = await Promise.race([master.ready(), expired]);
    deadline.end();
    const log = readConnectLog(master.log());
    if (ready) {
      const link = new OpenSshLink(settings, master, options.env, () => askpass.close());
      return success(new ChannelTransport(link), warningsOf(settings, log));
    }
    await master.end();
    askpass.close();
    const cause: ConnectFailure = late ? { kind: "timeout", behindJump: false } : judgeConnectLog(log);
    const afterMs = late ? timeoutMs : Math.ceil((performance.now() - startedAt) / 100) * 100;
    return failure(await describeFailure(cause, log, settings, options, { afterMs, unanswered }));
  } catch (error) {
    deadline.end();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** What ssh asked for and did not get. */
interface Unanswered {
  /** Why an unknown host key was not accepted; `strict`: ssh never asked. */
  hostKey: "no-terminal" | "declined" | "strict";
  /** Key files that need a passphrase, as far as nobody could be asked. */
  readonly passphrases: string[];
}

/** `ask` asks through us, so that a refusal can show the key. Pure. */
function hostKeyPolicy(settings: SshSettings, options: ConnectOptions): "yes" | "ask" | "accept-new" {
  if (options.acceptNew || settings.unknownKey === "accept-new") return "accept-new";
  return settings.unknownKey === "refuse" ? "yes" : "ask";
}

/** Passes ssh's questions on, off the clock; notes what had no answer. */
function answerPrompts(
  settings: SshSettings,
  options: ConnectOptions,
  deadline: Deadline,
  unanswered: Unanswered,
): AnswerPrompt {
  const { acceptNew, confirm, askSecret } = options;
  return async (prompt, hint) => {
    if (hint === "none") return undefined;
    if (/continue connecting/.test(prompt)) {
      if (acceptNew) return "yes";
      if (!confirm) {
        unanswered.hostKey = "no-terminal";
        return "no";
      }
      const key = /(\S+) key fingerprint is:?\s+(SHA256:[A-Za-z0-9+/]+)/.exec(prompt);
      const host = settings.jumps.length > 0 ? /authenticity of host '([^' ]+)/.exec(prompt)?.[1] : undefined;
      const question = `the host key of ${host ?? settings.label} is unknown: ${key?.[1]} ${key?.[2]}; trust it from now on?`;
      if (await deadline.pause(() => confirm(question))) return "yes";
      unanswered.hostKey = "declined";
      return "no";
    }
    if (hint === "confirm" || /\(yes\/no/.test(prompt))
      return confirm && (await deadline.pause(() => confirm(prompt))) ? "yes" : undefined;
    const path = /^Enter passphrase for (?:key )?['"]?(.*?)['"]?: ?$/.exec(prompt)?.[1];
    const question = path === undefined ? prompt : `passphrase for ${path}: `;
    if (!askSecret && path !== undefined) unanswered.passphrases.push(path);
    const said = askSecret && (await deadline.pause(() => askSecret(question)));
    return said === "" ? undefined : said;
  };
}

function warningsOf(settings: SshSettings, log: ConnectLog): Diagnostic[] {
  const file = log.notRemembered;
  if (file === undefined) return [];
  return [
    describeProblem({
      kind: "not-remembered",
      label: settings.label,
      file,
      detail: "ssh could not add the key",
    }),
  ];
}

async function describeFailure(
  cause: ConnectFailure,
  log: ConnectLog,
  settings: SshSettings,
  options: ConnectOptions,
  { afterMs, unanswered }: { readonly afterMs: number; readonly unanswered: Unanswered },
): Promise<Diagnostic> {
  const { hostName, port } = settings;
  // Before the jump hosts have logged in, the failure is theirs; a nested ProxyJump is seen by its first name only.
  const label = settings.jumps[log.authenticated] ?? settings.label;
  const address = hostName.includes(":") ? `[${hostName}]:${port}` : `${hostName}:${port}`;
  const via = settings.jumps.length > 0 ? settings.jumps.join(",") : undefined;
  const reached = label === settings.label ? address : label;
  const presented = log.presented ?? "(not shown by ssh)";
  switch (cause.kind) {
    case "refused":
    case "unresolvable": {
      const where = { label: settings.label, via: cause.behindJump ? via : undefined };
      if (cause.kind === "refused")
        return describeProblem({ kind: "refused", ...where, address: cause.behindJump ? address : reached });
      const name = cause.behindJump || label === settings.label ? hostName : label;
      return describeProblem({ kind: "unresolvable", ...where, hostName: name });
    }
    case "timeout":
      return describeProblem({ kind: "timeout", label, address: reached, stage: log.stage, afterMs });
    case "unreachable":
      return describeProblem({
        kind: "unreachable",
        label: settings.label,
        address: cause.behindJump ? address : reached,
        detail: cause.detail,
        via: cause.behindJump ? via : undefined,
      });
    case "handshake":
      return describeProblem({ kind: "handshake", label, address: reached, detail: cause.detail });
    case "config":
      return describeProblem({ kind: "config", host: settings.host, detail: cause.detail });
    case "auth":
      return describeProblem({
        kind: "auth",
        label,
        tried: log.tried,
        skipped: [...log.skipped, ...unanswered.passphrases.map((path) => `${path}: ${LOCKED_KEY}`)],
        detail: cause.detail,
      });
    case "key-changed":
    case "key-revoked":
    case "key-unknown": {
      const known =
        label === settings.label ? await readKnownHost(settings, options.env, options.run) : undefined;
      const entries = known?.ok ? known.value.entries : [];
      const name = settings.hostKeyName;
      if (cause.kind === "key-unknown")
        return describeProblem({
          kind: "key-unknown",
          label,
          name,
          presented,
          reason: unanswered.hostKey,
          authorities: [],
        });
      if (cause.kind === "key-changed") {
        const plain = entries.filter((entry) => entry.marker === "none");
        return describeProblem({ kind: "key-changed", label, name, presented, known: plain });
      }
      const revoked = entries.find((entry) => entry.marker === "revoked");
      return describeProblem({ kind: "key-revoked", label, presented, entry: revoked });
    }
  }
}
