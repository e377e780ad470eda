/**
 * Changes that lock an operator out, as data: each is a plausible edit of a layer. Where the harm is done by a unit it
 * is done for good: no ExecStop= takes it back. Must not know how a push is made or undone.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Files } from "../temporary-repository.ts";

export interface Sabotage {
  readonly name: string;
  /** Files of the repository, relative to `machines/demo`. `address` is the machine's own. */
  readonly files: (address: string) => Files;
  /** The code of the push's first problem. */
  readonly code: RegExp;
  /** Units that may run anew afterwards; all others must not have noticed. */
  readonly touched: readonly string[];
  /** Lines for machine.ini's `[attributes]`. Undefined: none. */
  readonly attributes?: readonly string[];
  /** Pushed by a user who needs sudo. Undefined: by root. */
  readonly bySudo?: true;
  /** True where the machine finds out by itself, while the push can still hear of it. */
  readonly atOnce?: true;
}

/** A oneshot unit that does something for good, and its wish. */
function unit(commands: string, extra = ""): Files {
  return {
    "lib/systemd/system/evil.service": `[Unit]\nDescription=Sabotage\n${extra}[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '${commands}'\n`,
    "lib/systemd/system/multi-user.target.wants/evil.service": { link: "../evil.service" },
  };
}

const sshd = (text: string): Files => ({ "etc/ssh/sshd_config.d/05-evil.conf": text });
const network = (text: string): Files => ({
  "lib/systemd/network/10-evil.network": `[Match]\nName=host0\n[Network]\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n${text}`,
});
const tmpfiles = (text: string): Files => ({ "lib/tmpfiles.d/evil.conf": text });

function anotherHostKey(): Files {
  const folder = mkdtempSync(join(tmpdir(), "labctl-host-key-"));
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, "key")]);
  const key = readFileSync(join(folder, "key"), "utf8");
  rmSync(folder, { recursive: true });
  return { "etc/ssh/another_key": key, ...sshd("HostKey /usr/local/etc/ssh/another_key\n") };
}

/** The machine may have come back by itself before the push could ask. */
const LOST = /^(not-confirmed|not-waiting)$/;

export const SABOTAGES: readonly Sabotage[] = [
  {
    name: "sshd stopped, by a unit that conflicts with it",
    files: () => unit("true", "Conflicts=ssh.service\n"),
    code: LOST,
    touched: ["ssh.service"],
  },
  {
    name: "sshd configuration broken",
    files: () => sshd("NoSuchOption yes\n"),
    code: /^unit-failed$/,
    touched: ["ssh.service"],
    atOnce: true,
  },
  {
    name: "sshd lets root in no more",
    files: () => sshd("DenyUsers root\n"),
    code: LOST,
    touched: ["ssh.service"],
  },
  {
    name: "sshd takes no more than no connection",
    files: () => sshd("MaxStartups 1:100:1\nLoginGraceTime 1\nUsePAM yes\nAllowGroups nogroup\n"),
    code: LOST,
    touched: ["ssh.service"],
  },
  {
    name: "authorized keys looked for elsewhere",
    files: () => sshd("AuthorizedKeysFile /usr/local/etc/ssh/keys/%u\n"),
    code: LOST,
    touched: ["ssh.service"],
  },
  {
    name: "authorized keys overwritten by tmpfiles",
    files: () => tmpfiles("f+ /root/.ssh/authorized_keys 0600 root root - nobody\n"),
    code: LOST,
    touched: [],
  },
  {
    name: "root's home open to all, so that sshd trusts nothing in it",
    files: () => unit("chown nobody /root; chmod 0777 /root /root/.ssh"),
    code: LOST,
    touched: [],
  },
  {
    name: "host key changed",
    files: anotherHostKey,
    attributes: ["etc/ssh/another_key = mode 0600"],
    code: LOST,
    touched: ["ssh.service"],
  },
  {
    name: "port 22 dropped by nftables",
    files: () =>
      unit(
        'nft "add table inet evil { chain in { type filter hook input priority 0; tcp dport 22 ct state new drop; }; }"',
      ),
    code: LOST,
    touched: [],
  },
  {
    name: "the default route deleted",
    files: () => unit("ip route del default"),
    code: /^route-lost$/,
    touched: [],
    atOnce: true,
  },
  {
    name: "the default route not in the network file any more",
    files: (address) => network(`Address=${address}/24\n`),
    code: /^route-lost$/,
    touched: [],
    atOnce: true,
  },
  {
    name: "the pusher's network routed into nothing",
    files: () => unit("ip route add blackhole 10.97.0.1/32"),
    code: /^(names-lost|not-confirmed|not-waiting)$/,
    touched: [],
  },
  {
    name: "the address changed",
    files: (address) =>
      network(`Address=${address.replace(/\d+$/, (n) => `${Number(n) + 100}`)}/24\nGateway=10.97.0.1\n`),
    code: LOST,
    touched: [],
  },
  {
    name: "a unit that takes the network down",
    files: () => unit("ip link set host0 down"),
    code: /^(not-confirmed|not-waiting|route-lost)$/,
    touched: [],
  },
  {
    name: "a resolver that does not answer",
    files: () => ({ "lib/systemd/resolved.conf.d/90-evil.conf": "[Resolve]\nDNS=\nDNS=10.97.0.250\n" }),
    code: /^names-lost$/,
    touched: ["systemd-resolved.service"],
    atOnce: true,
  },
  {
    name: "no resolver at all in nsswitch.conf",
    files: () => tmpfiles("f+ /etc/nsswitch.conf 0644 root root - hosts: files\\n\n"),
    code: /^names-lost$/,
    touched: [],
    atOnce: true,
  },
  {
    name: "root's shell is not there",
    files: () => unit("usermod -s /usr/local/bin/no-such-shell root"),
    code: LOST,
    touched: [],
  },
  {
    name: "a bash in the tree that is none, and other broken programs of every day",
    files: () => ({
      "bin/bash": "#!/bin/false\n",
      "bin/mv": "#!/bin/false\n",
      "sbin/systemctl": "#!/bin/false\n",
    }),
    attributes: ["bin/bash = mode 0755", "bin/mv = mode 0755", "sbin/systemctl = mode 0755"],
    code: LOST,
    touched: [],
  },
  {
    name: "PAM refuses every account",
    files: () => tmpfiles("f+ /etc/pam.d/sshd 0644 root root - account required pam_deny.so\n"),
    code: LOST,
    touched: [],
  },
  {
    name: "nobody but root may log in",
    files: () => tmpfiles("f /etc/nologin 0644 root root - no\n"),
    code: LOST,
    touched: [],
    bySudo: true,
  },
  {
    name: "sudo refuses the pusher",
    files: () => tmpfiles("f /etc/sudoers.d/zz-evil 0440 root root - pat ALL=(ALL) !ALL\n"),
    code: LOST,
    touched: [],
    bySudo: true,
  },
  {
    name: "the pusher's account has expired",
    files: () => unit("usermod -e 1 pat"),
    code: LOST,
    touched: [],
    bySudo: true,
  },
];
