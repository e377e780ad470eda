/**
 * One disposable machine: systemd as PID 1 in systemd-nspawn on its own root, in its own cgroup. Owns its process,
 * its console and its power switch. Must not know about other machines.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { failure, type Result, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { removeCgroup } from "./cgroup.ts";
import { describeProblem } from "./problems.ts";
import { type ProgramEnd, runProgram } from "./run-program.ts";

const CONSOLE_LINES = 40;
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 10;

/** Counts boots of all machines of this process: see `spawnNspawn`. */
let boots = 0;

export interface MachineSetup {
  readonly name: string;
  readonly address: string;
  readonly ulaAddress: string;
  readonly rootFolder: AbsPath;
  /** `ssh-ed25519 AAAA…`. */
  readonly hostKey: string;
  /** For the console's log and the notify socket; exists. */
  readonly folder: AbsPath;
  /** Folder of the cgroup2 hierarchy where each boot makes a cgroup of its own. */
  readonly cgroupFolder: AbsPath;
  /** nspawn's machine name, at most 12 characters; the host's end of its link is `vb-` and this. */
  readonly linkName: string;
  /** Its machine-id, 32 hex digits. */
  readonly uuid: string;
  /** True: it is ready when sshd answers, too. */
  readonly waitsForSsh: boolean;
  readonly nspawnArguments: readonly string[];
}

/** A process that was started, and what it has said through its notify socket so far. */
interface Running {
  readonly process: ChildProcess;
  readonly cgroup: AbsPath;
  readonly ended: Promise<string>;
  /** Undefined while it runs; else how it ended. */
  end: string | undefined;
  notified: string;
}

export class Machine {
  readonly name: string;
  /** IPv4 in the bed's network. */
  readonly address: string;
  /** IPv6 in the bed's network. */
  readonly ulaAddress: string;
  readonly port = 22;
  /** `ssh-ed25519 AAAA…`, unique to this machine, kept over restarts. */
  readonly hostKey: string;
  /**
   * Its root file system as the host sees it. Read only, and never follow a link there: links are meant for the
   * machine and may lead to the host's own files.
   */
  readonly rootFolder: AbsPath;
  private readonly setup: MachineSetup;
  private readonly consoleFile: string;
  private running: Running | undefined;

  /** Use `Bed.boot`. */
  constructor(setup: MachineSetup) {
    this.setup = setup;
    this.name = setup.name;
    this.address = setup.address;
    this.ulaAddress = setup.ulaAddress;
    this.hostKey = setup.hostKey;
    this.rootFolder = setup.rootFolder;
    this.consoleFile = join(setup.folder, "console.log");
  }

  get isRunning(): boolean {
    return this.running !== undefined && this.running.end === undefined;
  }

  /** PID 1 of the machine as this side numbers it; undefined unless it runs. */
  get leaderPid(): number | undefined {
    const match = this.isRunning ? /X_NSPAWN_LEADER_PID=(\d+)/.exec(this.running?.notified ?? "") : null;
    return match ? Number(match[1]) : undefined;
  }

  /** Everything since the first boot, as the machine's console showed it. */
  console(): string {
    return existsSync(this.consoleFile) ? readFileSync(this.consoleFile, "utf8") : "";
  }

  /** Boots; resolves when ready (see `Bed.boot`), else switches it off and says why. */
  async start(timeoutMs: number): Promise<Result<undefined>> {
    if (this.isRunning) return failure(describeProblem({ kind: "machine-still-running", name: this.name }));
    const notifySocket = join(this.setup.folder, "notify");
    const listener = await listenForNotify(notifySocket);
    const running = this.spawnNspawn(notifySocket);
    this.running = running;
    listener.stdout?.on("data", (chunk: Buffer) => {
      running.notified += chunk.toString();
    });
    void running.ended.then(() => listener.kill());
    const port = this.setup.waitsForSsh ? this.port : undefined;
    const missing = await waitUntilReady(running, this.address, port, Date.now() + timeoutMs);
    if (missing === undefined) return success(undefined);
    const { name } = this;
    const status = running.end;
    await this.kill();
    const console = this.console().trimEnd().split("\n").filter(Boolean).slice(-CONSOLE_LINES);
    return failure(
      describeProblem(
        status === undefined
          ? { kind: "machine-not-ready", name, timeoutMs, missing, console }
          : { kind: "machine-ended-early", name, status, console },
      ),
    );
  }

  /** Orderly shutdown, as `poweroff` does; after 20 s the power switch. Nothing to do if it is off. */
  async stop(): Promise<void> {
    const { running } = this;
    if (!running || running.end !== undefined) return;
    // nspawn turns SIGTERM into systemd's own poweroff signal, systemd-nspawn(1) --kill-signal=.
    running.process.kill("SIGTERM");
    await Promise.race([running.ended, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    await this.kill();
  }

  /**
   * Power cut: every process of the machine ends at the same instant, none gets a signal it could catch. The host's
   * page cache survives, so files that the machine wrote without fsync are still there afterwards.
   */
  async kill(): Promise<void> {
    const { running } = this;
    if (!running) return;
    if (running.end === undefined) writeFileSync(join(running.cgroup, "cgroup.kill"), "1");
    await running.ended;
    removeCgroup(running.cgroup);
    await removeExport(this.setup.linkName);
    // The kernel takes the link away some time after the last process; the next boot needs its name at once.
    await runProgram(["ip", "link", "del", `vb-${this.setup.linkName}`]);
  }

  /** Boots from the same root again, after an orderly stop if it runs. Address and host key stay. */
  async restart(timeoutMs = 60_000): Promise<Result<undefined>> {
    await this.stop();
    return this.start(timeoutMs);
  }

  /**
   * Runs `argv` as the machine's root with a plain environment, past sshd: for looking on and for breaking things.
   * It is not in a unit of the machine's systemd. Status 127 if the machine is off.
   */
  async runInside(
    argv: readonly string[],
    stdin: string | Buffer = "",
    timeoutMs = 60_000,
  ): Promise<ProgramEnd> {
    const inside = this.enterWords();
    if (inside === undefined) return { status: 127, stdout: "", stderr: `machine ${this.name} is off` };
    return runProgram([...inside, ...argv], { stdin, timeoutMs });
  }

  /** What stands before a command line of this side to have it run inside, as `runInside` does; undefined: it is off. */
  enterWords(terminal = "dumb"): string[] | undefined {
    const leader = this.leaderPid;
    if (leader === undefined) return undefined;
    return [
      "nsenter",
      "-t",
      `${leader}`,
      "-m",
      "-p",
      "-n",
      "-u",
      "-i",
      "-r",
      "-w",
      "--",
      ...plainWords(terminal),
    ];
  }

  private spawnNspawn(notifySocket: string): Running {
    const { setup } = this;
    boots += 1;
    // A cgroup that was killed once must not be used again: Linux 6.14 and later then kill what is started in it.
    // Processes that follow one another in the same namespaces each count from 1.
    const cgroup = join(setup.cgroupFolder, `${setup.linkName}-${process.pid}-${boots}`) as AbsPath;
    mkdirSync(cgroup, { recursive: true });
    const argv = [
      "systemd-nspawn",
      "--quiet",
      `--directory=${setup.rootFolder}`,
      "--boot",
      "--notify-ready=yes",
      // There is no systemd to register with, neither here nor on many hosts.
      "--register=no",
      "--keep-unit",
      `--machine=${setup.linkName}`,
      `--hostname=${setup.name}`,
      `--uuid=${setup.uuid}`,
      "--capability=all",
      // Containers share the host's clock: a machine that set it would set everyone's.
      "--drop-capability=CAP_SYS_TIME",
      // Without bpf, systemd silently does not enforce IPAddressDeny= and its like.
      "--system-call-filter=bpf keyctl",
      "--resolv-conf=off",
      "--timezone=off",
      "--console=pipe",
      ...setup.nspawnArguments,
    ];
    const log = openSync(this.consoleFile, "a", 0o600);
    // The shell joins the machine's cgroup before it becomes nspawn: a later move would miss its first children.
    const joinCgroup = ['echo $$ > "$1/cgroup.procs"; shift; exec "$@"', "machine", cgroup];
    const child = spawn("sh", ["-c", ...joinCgroup, ...argv], {
      stdio: ["ignore", log, log],
      env: { PATH: process.env.PATH, NOTIFY_SOCKET: notifySocket, LANG: "C.UTF-8" },
    });
    closeSync(log);
    const ended = new Promise<string>((resolve) => {
      child.on("error", (error) => resolve(error.message));
      child.on("exit", (status, signal) => resolve(signal ?? `exit status ${status}`));
    });
    const running: Running = { process: child, cgroup, ended, end: undefined, notified: "" };
    void ended.then((how) => {
      running.end = how;
    });
    return running;
  }
}

/** Has what follows run with the environment that root has by default. Pure. */
export function plainWords(terminal = "dumb"): string[] {
  const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  return ["env", "-i", `PATH=${path}`, "HOME=/root", "USER=root", "LANG=C.UTF-8", `TERM=${terminal}`];
}

/**
 * systemd-nspawn from 256 on mounts a folder for the machine's sockets, takes it away only where it ends by itself, and
 * refuses to start where it finds one under the same name. Effects: in the private `/run` only.
 */
async function removeExport(linkName: string): Promise<void> {
  const folder = join("/run/systemd/nspawn/unix-export", linkName);
  if (!existsSync(folder)) return;
  await runProgram(["umount", "--lazy", folder]);
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Node.js has no unix datagram sockets, which sd_notify(3) needs; socat copies what arrives to its standard output.
 * Resolves when the socket is bound. Goes away if Node.js ever gets them.
 */
async function listenForNotify(socket: string): Promise<ChildProcess> {
  rmSync(socket, { force: true });
  const listener = spawn("socat", ["-u", `UNIX-RECV:${socket}`, "-"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let failed = false;
  listener.on("error", () => {
    failed = true;
  });
  // Without a listener the boot still works, and then fails its deadline with READY as what is missing.
  while (!existsSync(socket) && !failed && listener.exitCode === null) await sleep(2);
  return listener;
}

/** Undefined: ready. Else what was still missing at the deadline or when the machine ended. */
async function waitUntilReady(
  running: Running,
  address: string,
  port: number | undefined,
  deadline: number,
): Promise<string | undefined> {
  while (!running.notified.includes("READY=1")) {
    if (running.end !== undefined || Date.now() > deadline) return "systemd's READY";
    await sleep(POLL_MS);
  }
  while (port !== undefined && !(await answersSsh(address, port))) {
    if (running.end !== undefined || Date.now() > deadline) return `an ssh banner from ${address}:${port}`;
    await sleep(POLL_MS);
  }
  return undefined;
}

/** True if a server there sends an SSH banner (RFC 4253 section 4.2) within a second. */
function answersSsh(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1000, () => finish(false));
    socket.on("error", () => finish(false));
    socket.on("close", () => finish(false));
    socket.once("data", (chunk: Buffer) => finish(chunk.toString("latin1").startsWith("SSH-")));
  });
}
