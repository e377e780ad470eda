/**
 * A real OpenSSH server on 127.0.0.1 in a folder of its own: own host keys, own authorized_keys, any free port.
 * Needs no root: sshd then lets in only the user that started it. Nothing outside the folder is read or written.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import type { ConnectOptions } from "../../src/push/transport.ts";

export interface SshdOptions {
  /** More lines for sshd_config, e.g. `MaxSessions 3`. */
  readonly config?: readonly string[];
  /** Environment of every command, on top of a HOME that is the fixture's folder. Values hold no quotes. */
  readonly env?: Readonly<Record<string, string>>;
  /** Host key types to make, best first. Undefined: ed25519 only. */
  readonly hostKeyTypes?: readonly ("ed25519" | "ecdsa" | "rsa")[];
  /** Listen here, e.g. to stand in for a server that stopped. Undefined: any free port. */
  readonly port?: number;
}

export interface Sshd {
  readonly host: "127.0.0.1";
  readonly port: number;
  readonly user: string;
  /** The fixture's own folder; tests may put files beside its own. */
  readonly folder: string;
  /** Private key that the server accepts; `.pub` lies beside it. */
  readonly identityFile: string;
  /** Holds the server's host key under `[127.0.0.1]:port`. */
  readonly knownHosts: string;
  /** ssh_config that names `knownHosts` and nothing of the person who runs the tests. */
  readonly configFile: string;
  /** `type base64` of the first host key. */
  readonly hostKey: string;
  readonly pid: number;
  /** What sshd logged so far. */
  log(): string;
  /** Options for `connect` with the fixture's configuration and no agent. */
  connectOptions(more?: Partial<ConnectOptions>): ConnectOptions;
  /** Ends the processes that serve open connections, not the listener: the connection is lost. */
  dropConnections(): void;
  /** Ends the server and its connections and removes the folder. */
  stop(): Promise<void>;
}

/** A port that is free now; another process may take it, as with all such helpers. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/** Makes a key pair without a passphrase unless one is given. */
export function makeKey(path: string, type: "ed25519" | "ecdsa" | "rsa" = "ed25519", passphrase = ""): void {
  execFileSync("ssh-keygen", ["-q", "-t", type, "-N", passphrase, "-C", "labctl test", "-f", path]);
}

/** `type base64` of a public key file. */
export function publicKeyOf(path: string): string {
  return readFileSync(`${path}.pub`, "utf8").trim().split(" ").slice(0, 2).join(" ");
}

/** Writes an ssh_config; `rest` comes first, since the first value wins. */
export function writeSshConfig(file: string, knownHosts: string, rest: readonly string[] = []): void {
  const lines = [
    ...rest,
    "Host *",
    `  UserKnownHostsFile ${knownHosts}`,
    "  GlobalKnownHostsFile none",
    "  IdentityFile none",
    "  HashKnownHosts no",
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
}

/** Starts a server and waits until it answers. */
export async function startSshd(options: SshdOptions = {}): Promise<Sshd> {
  const program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].find(existsSync);
  if (!program) throw new Error("sshd is not installed; install the package openssh-server");
  const folder = mkdtempSync(join(tmpdir(), "labctl-sshd-"));
  const port = options.port ?? (await freePort());
  const user = userInfo().username;
  const identityFile = join(folder, "identity");
  makeKey(identityFile);
  writeFileSync(join(folder, "authorized_keys"), readFileSync(`${identityFile}.pub`));
  const types = options.hostKeyTypes ?? ["ed25519"];
  for (const type of types) makeKey(join(folder, `host_${type}`), type);
  const hostKey = publicKeyOf(join(folder, `host_${types[0] ?? "ed25519"}`));
  const config = [
    ...(options.config ?? []),
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    ...types.map((type) => `HostKey ${join(folder, `host_${type}`)}`),
    `PidFile ${join(folder, "sshd.pid")}`,
    `AuthorizedKeysFile ${join(folder, "authorized_keys")}`,
    // bash reads ~/.bashrc under sshd: what the person who runs the tests keeps there is no part of them.
    `SetEnv ${Object.entries({ HOME: folder, ...options.env })
      .map(([name, text]) => `"${name}=${text}"`)
      .join(" ")}`,
    "PermitUserRC no",
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin yes",
    "MaxStartups 100",
    // Failed logins are what half of the tests are about; the option came with OpenSSH 9.8.
    ...(versionOf(program) >= 908 ? ["PerSourcePenalties no"] : []),
    "LogLevel VERBOSE",
  ];
  writeFileSync(join(folder, "sshd_config"), `${config.join("\n")}\n`);
  const knownHosts = join(folder, "known_hosts");
  writeFileSync(knownHosts, `[127.0.0.1]:${port} ${hostKey}\n`, { mode: 0o600 });
  const configFile = join(folder, "ssh_config");
  writeSshConfig(configFile, knownHosts);
  // Debian's sshd wants this folder when root starts it; on a booted machine it exists.
  if (process.getuid?.() === 0 && !existsSync("/run/sshd")) {
    mkdirSync("/run/sshd");
    chmodSync("/run/sshd", 0o755);
  }
  let log = "";
  const child = spawn(program, ["-D", "-e", "-f", join(folder, "sshd_config")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  child.stderr.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  await waitUntilListening(child, () => log);
  // Node knows the pid of a process that has printed something.
  const pid = child.pid as number;
  const fixture: Sshd = {
    host: "127.0.0.1",
    port,
    user,
    folder,
    identityFile,
    knownHosts,
    configFile,
    hostKey,
    pid,
    log: () => log,
    connectOptions: (more = {}) => ({
      acceptNew: false,
      timeoutMs: 10_000,
      configFile,
      env: { ...process.env, SSH_AUTH_SOCK: undefined },
      ...more,
    }),
    dropConnections() {
      for (const one of descendantsOf(pid)) end(one, "SIGKILL");
    },
    async stop() {
      const gone = new Promise<void>((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) resolve();
        else child.once("exit", () => resolve());
      });
      const others = descendantsOf(pid);
      end(pid, "SIGTERM");
      for (const one of others) end(one, "SIGKILL");
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return fixture;
}

/** 902 for OpenSSH 9.2; 0 if it does not say. */
function versionOf(program: string): number {
  const { stdout, stderr } = spawnSync(program, ["-V"], { encoding: "utf8" });
  const match = /OpenSSH_(\d+)\.(\d+)/.exec(stdout + stderr);
  return match ? Number(match[1]) * 100 + Number(match[2]) : 0;
}

function waitUntilListening(child: ChildProcess, log: () => string): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`sshd does not start: ${log()}`)), 10_000);
    const ended = (): void => {
      clearTimeout(timer);
      reject(new Error(`sshd ended at once: ${log()}`));
    };
    child.once("exit", ended);
    child.stderr?.on("data", () => {
      if (!log().includes("Server listening")) return;
      clearTimeout(timer);
      child.off("exit", ended);
      resolve();
    });
  });
}

/** Processes below another, nearest first. */
function descendantsOf(pid: number): number[] {
  const direct = execFileSync("sh", ["-c", `ps -o pid= --ppid ${pid} || true`])
    .toString()
    .split("\n")
    .map(Number)
    .filter((one) => one > 0);
  return direct.flatMap((one) => [one, ...descendantsOf(one)]);
}

function end(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself.
  }
}
