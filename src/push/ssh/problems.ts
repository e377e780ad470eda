/**
 * Everything that can go wrong between here and a logged-in connection: the closed union, and the one function
 * that words it. Pure; must not know how a problem was found.
 */
import { type Diagnostic, problem, warning } from "../../diagnostics.ts";
import { shellWord } from "../shell-word.ts";
import { describeKey, type PublicKey } from "./public-key.ts";

/** A known_hosts line as far as wording needs it. */
interface KnownLine {
  readonly key: PublicKey;
  readonly file: string;
  readonly line: number;
}

/** Why a key is skipped that nobody can unlock. */
export const LOCKED_KEY =
  "the key is encrypted and there is no terminal to ask for its passphrase on; load it with ssh-add";

/** `label` is `user@host:port`; `presented` is a host key as `TYPE SHA256:…`; `via` names the jump host that the attempt went through, undefined: none. */
export type SshProblem =
  | { readonly kind: "tool-missing"; readonly tool: string }
  | { readonly kind: "host-name"; readonly host: string }
  | { readonly kind: "user-name"; readonly host: string; readonly user: string }
  | { readonly kind: "config"; readonly host: string; readonly detail: string }
  | { readonly kind: "proxy-command"; readonly host: string; readonly command: string }
  | { readonly kind: "jump-syntax"; readonly label: string; readonly hop: string }
  | { readonly kind: "jump-loop"; readonly label: string; readonly route: readonly string[] }
  | { readonly kind: "known-hosts"; readonly file: string; readonly detail: string }
  | {
      readonly kind: "not-remembered";
      readonly label: string;
      readonly file: string;
      readonly detail: string;
    }
  | {
      readonly kind: "refused";
      readonly label: string;
      readonly address: string;
      readonly via?: string | undefined;
    }
  | {
      readonly kind: "timeout";
      readonly label: string;
      readonly address: string;
      readonly stage: string;
      readonly afterMs: number;
    }
  | {
      readonly kind: "unresolvable";
      readonly label: string;
      readonly hostName: string;
      readonly via?: string | undefined;
    }
  | {
      readonly kind: "unreachable";
      readonly label: string;
      readonly address: string;
      readonly detail: string;
      readonly via?: string | undefined;
    }
  | { readonly kind: "handshake"; readonly label: string; readonly address: string; readonly detail: string }
  | {
      readonly kind: "auth";
      readonly label: string;
      readonly tried: readonly string[];
      readonly skipped: readonly string[];
      readonly detail?: string | undefined;
    }
  | {
      readonly kind: "key-changed";
      readonly label: string;
      readonly name: string;
      readonly presented: string;
      readonly known: readonly KnownLine[];
    }
  | {
      readonly kind: "key-revoked";
      readonly label: string;
      readonly presented: string;
      /** Undefined: ssh did not say where it stands. */
      readonly entry: KnownLine | undefined;
    }
  | {
      readonly kind: "key-unknown";
      readonly label: string;
      readonly name: string;
      readonly presented: string;
      readonly reason: "no-terminal" | "declined" | "strict";
      readonly authorities: readonly KnownLine[];
    }
  | { readonly kind: "lost"; readonly label: string; readonly detail: string }
  | { readonly kind: "output-refused"; readonly label: string }
  | { readonly kind: "exec-timeout"; readonly label: string; readonly afterMs: number }
  | { readonly kind: "output-overrun"; readonly label: string; readonly limitBytes: number }
  | { readonly kind: "channel"; readonly label: string; readonly detail: string };

const NOTHING_SENT = "nothing was sent to the machine";

/** Words a problem; all are errors but `not-remembered`, a warning. Pure. */
export function describeProblem(p: SshProblem): Diagnostic {
  switch (p.kind) {
    case "tool-missing":
      return problem("ssh-tool-missing", `the program \`${p.tool}\` is not installed here`, {
        notes: ["it settles ssh_config and known_hosts, so that they mean what they mean to OpenSSH"],
        help: "install the package openssh-client",
      });
    case "host-name":
      return problem("ssh-host-name", `\`${p.host}\` can't be a host`, {
        notes: ["a host begins with no `-` and holds no blank and no control character"],
        help: "correct `host` in the machine's machine.ini",
      });
    case "user-name":
      return problem("ssh-host-name", `\`${p.user}\` can't be a user on ${p.host}`, {
        notes: ["a user begins with no `-` and holds no blank and no control character"],
        help: "correct `user` under [ssh] in the machine's machine.ini",
      });
    case "config":
      return problem("ssh-config", `the ssh configuration for ${p.host} can't be read`, {
        notes: p.detail
          .split("\n")
          .filter((line) => line !== "")
          .map((line) => `ssh says: ${line}`),
        help: `see what \`ssh -G ${shellWord(p.host)}\` says`,
      });
    case "proxy-command":
      return problem(
        "ssh-proxy-command",
        `${p.host} is reached through a ProxyCommand, which the built-in client does not run`,
        {
          notes: [`ssh_config says: ProxyCommand ${p.command}`],
          help: "use --ssh=openssh, or `client = openssh` under [ssh] in machine.ini; ProxyJump needs neither",
        },
      );
    case "jump-syntax":
      return problem("ssh-config", `\`${p.hop}\` in ProxyJump for ${p.label} is no host`, {
        notes: ["expected [user@]host[:port]"],
        help: "correct ProxyJump in the ssh configuration",
      });
    case "jump-loop":
      return problem("ssh-jump-loop", `the jump hosts for ${p.label} never end`, {
        notes: [`route so far: ${p.route.join(" -> ")}`],
        help: "correct ProxyJump in the ssh configuration",
      });
    case "known-hosts":
      return problem("ssh-known-hosts", "a known_hosts file can't be searched", {
        place: { file: p.file },
        notes: p.detail.split("\n").filter((line) => line !== ""),
        help: "make the file readable, or name another by UserKnownHostsFile",
      });
    case "not-remembered":
      return warning(
        "host-key-not-remembered",
        `the host key of ${p.label} was accepted but not written down`,
        {
          place: { file: p.file },
          notes: [p.detail],
          help: "make the file writable; until then the key is unknown again next time",
        },
      );
    case "refused":
      return problem("ssh-refused", `${p.label} refused the connection`, {
        notes: [`tried ${p.address}${through(p.via)}: no program listens there`, NOTHING_SENT],
        help: "check that sshd runs on the machine, and that host and port are right",
      });
    case "timeout":
      return problem("ssh-timeout", `${p.label} did not answer within ${p.afterMs / 1000} s`, {
        notes: [`tried ${p.address}; it was still ${p.stage}`, NOTHING_SENT],
        help: "check that the machine is up and that no firewall drops the connection",
      });
    case "unresolvable":
      return problem("ssh-unresolvable", `${p.label}: the name \`${p.hostName}\` has no address`, {
        notes: [p.via ? `asked on the jump host ${p.via}` : "asked this host's resolver", NOTHING_SENT],
        help: "correct `host` in machine.ini, or add the name to DNS, /etc/hosts or ~/.ssh/config",
      });
    case "unreachable":
      return problem("ssh-unreachable", `${p.label} can't be reached`, {
        notes: [`tried ${p.address}${through(p.via)}: ${p.detail}`, NOTHING_SENT],
        help: "check the route to the machine",
      });
    case "handshake":
      return problem("ssh-handshake", `${p.label} answered, but no SSH session came about`, {
        notes: [`tried ${p.address}: ${p.detail}`, NOTHING_SENT],
        help: "check that an SSH server listens on that port, and what its log says",
      });
    case "auth":
      return problem("ssh-auth", `${p.label} accepted none of our keys`, {
        notes: [
          ...(p.tried.length === 0
            ? ["tried no key: there was none to try"]
            : p.tried.map((one) => `tried ${one}`)),
          ...p.skipped.map((one) => `skipped ${one}`),
          ...(p.detail === undefined ? [] : [`the machine said: ${p.detail}`]),
          NOTHING_SENT,
        ],
        help: "add one of these keys to the user's authorized_keys on the machine, load the right one with ssh-add, or name it as `identity` under [ssh] in machine.ini",
      });
    case "key-changed":
      return describeChangedKey(p);
    case "key-revoked":
      return problem("host-key-revoked", `${p.label} presents a host key that is revoked`, {
        ...(p.entry ? { place: { file: p.entry.file, line: p.entry.line } } : {}),
        notes: [
          `presented: ${p.presented}`,
          "a revoked key is known to be in wrong hands: this may not be the machine you mean",
          NOTHING_SENT,
        ],
        help: "give the machine a new host key (ssh-keygen -A after removing the old one), then connect again",
      });
    case "key-unknown":
      return describeUnknownKey(p);
    case "lost":
      return problem("ssh-lost", `the connection to ${p.label} was lost`, {
        notes: [p.detail],
        help: "check the network and the machine, then run the same command again",
      });
    case "exec-timeout":
      return problem("ssh-exec-timeout", `a command on ${p.label} did not end within ${p.afterMs / 1000} s`, {
        notes: ["its channel was closed; the command itself may still run there"],
        help: "see what holds the machine up, then run the same command again",
      });
    case "output-refused":
      return problem("ssh-output-refused", `a command on ${p.label} printed what makes no sense`, {
        notes: ["its channel was closed"],
        help: "check what a login script on the machine prints",
      });
    case "output-overrun":
      return problem(
        "ssh-output-overrun",
        `a command on ${p.label} printed more than ${p.limitBytes} bytes`,
        {
          notes: ["its channel was closed; what came so far was thrown away"],
          help: "check whether a login script on the machine prints without end",
        },
      );
    case "channel":
      return problem("ssh-channel", `${p.label} opened no channel`, {
        notes: [p.detail],
        help: "check MaxSessions and ForceCommand in the machine's sshd_config",
      });
  }
}

function describeChangedKey(p: SshProblem & { kind: "key-changed" }): Diagnostic {
  const files = [...new Set(p.known.map((entry) => entry.file))];
  const commands = files.map((file) => `ssh-keygen -f ${shellWord(file)} -R ${shellWord(p.name)}`);
  const first = p.known[0];
  return problem(
    "host-key-changed",
    `${p.label} presents another host key than the one known for \`${p.name}\``,
    {
      place: first && { file: first.file, line: first.line },
      notes: [
        ...p.known.map((entry) => `known:     ${describeKey(entry.key)} (${entry.file}:${entry.line})`),
        `presented: ${p.presented}`,
        "either the machine was installed anew, or someone stands between you and it",
        NOTHING_SENT,
      ],
      help: `compare with \`ssh-keygen -lf\` on the machine's own console; if the new key is right, forget the old one: ${commands.join(" && ")}`,
    },
  );
}

function describeUnknownKey(p: SshProblem & { kind: "key-unknown" }): Diagnostic {
  const reasons = {
    "no-terminal": "there is no terminal to ask on",
    declined: "the answer was no",
    strict: "StrictHostKeyChecking is yes for this host",
  };
  return problem("host-key-unknown", `the host key of ${p.label} is unknown`, {
    notes: [
      `presented: ${p.presented}`,
      `no known_hosts file has a key for \`${p.name}\`, and ${reasons[p.reason]}`,
      ...p.authorities.map(
        (entry) =>
          `${entry.file}:${entry.line} trusts an authority; the built-in client takes no host certificates, --ssh=openssh does`,
      ),
      NOTHING_SENT,
    ],
    help: "compare the fingerprint with `ssh-keygen -lf` on the machine, then run again with --accept-new",
  });
}

function through(via: string | undefined): string {
  return via === undefined ? "" : ` through ${via}`;
}
