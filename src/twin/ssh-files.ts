/**
 * Keys and OpenSSH's client files for a bed's machines. Must not know how machines boot.
 */
import { lstatSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { describeProblem } from "./problems.ts";
import { runSteps } from "./run-program.ts";

interface SshHost {
  readonly name: string;
  readonly address: string;
  readonly ulaAddress: string;
  readonly port: number;
  /** `ssh-ed25519 AAAA…`, without comment. */
  readonly hostKey: string;
}

/** `folder/id_ed25519` and `.pub`, without passphrase. */
export async function makeKeyPair(folder: AbsPath): Promise<Result<undefined>> {
  const argv = [
    "ssh-keygen",
    "-q",
    "-t",
    "ed25519",
    "-N",
    "",
    "-C",
    "labctl-bed",
    "-f",
    join(folder, "id_ed25519"),
  ];
  return runSteps([["make a key pair", argv]]);
}

/**
 * Gives a machine that never ran its own host key; answers the public half. Writes into the machine's root from the
 * host, which is safe only before its first boot: afterwards, links in it may lead out.
 */
export async function hostKeyInto(rootFolder: AbsPath, folder: AbsPath): Promise<Result<string>> {
  const keyFile = join(folder, "host_key");
  const argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", keyFile];
  const made = await runSteps([["make a host key", argv]]);
  if (!made.ok) return made;
  for (const path of ["etc", "etc/ssh"]) {
    if (lstatSync(join(rootFolder, path)).isDirectory()) continue;
    const refused = { step: `write the host key: ${path} is no folder in the image`, argv: [], output: "" };
    return failure(describeProblem({ kind: "bed-step-failed", ...refused }));
  }
  const target = join(rootFolder, "etc/ssh/ssh_host_ed25519_key");
  const publicKey = readFileSync(`${keyFile}.pub`, "utf8");
  // "wx" refuses whatever already has the name, a link included.
  writeFileSync(target, readFileSync(keyFile), { flag: "wx", mode: 0o600 });
  writeFileSync(`${target}.pub`, publicKey, { flag: "wx", mode: 0o644 });
  return success(publicKey.trim().split(" ").slice(0, 2).join(" "));
}

/** known_hosts with each machine under its name and its addresses, sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT". Pure. */
export function formatKnownHosts(machines: readonly SshHost[]): string {
  return machines.map((m) => `${m.name},${m.address},${m.ulaAddress} ${m.hostKey}\n`).join("");
}

/** An ssh_config(5) for exactly these machines; it takes nothing from the user's own keys or known hosts. Pure. */
export function formatSshConfig(bed: {
  readonly machines: readonly SshHost[];
  readonly identityFile: AbsPath;
  readonly knownHostsFile: AbsPath;
}): string {
  const hosts = bed.machines.map((m) => `Host ${m.name}\n  HostName ${m.address}\n  Port ${m.port}\n`);
  return [
    ...hosts,
    "Host *",
    "  User root",
    `  IdentityFile ${bed.identityFile}`,
    "  IdentitiesOnly yes",
    `  UserKnownHostsFile ${bed.knownHostsFile}`,
    "  GlobalKnownHostsFile /dev/null",
    "  StrictHostKeyChecking yes",
    "  BatchMode yes",
    "  ConnectTimeout 5",
    "  LogLevel ERROR",
    "",
  ].join("\n");
}
