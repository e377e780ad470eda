/**
 * Talks to a running virtual machine: by QMP to its QEMU, and by its serial lines to the guest.
 *
 *     monitor.mjs ready NAME        returns when the guest says that it is ready; else says what its console said
 *     monitor.mjs stop NAME         presses its power button and waits; what then remains is ended by systemd
 *     monitor.mjs state NAME        prints QEMU's state as one JSON document
 *     monitor.mjs screenshot NAME   writes what its display shows to standard output, as PNG
 *     monitor.mjs console NAME      its serial console, until Ctrl-]
 */
import { spawn } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { formatDiagnostic } from "labctl/diagnostics.ts";
import { GUEST_NAME } from "labctl/guests/guest.ts";
import { CONSOLE_BYTES, type VmLimits } from "labctl/guests/qemu-arguments.ts";
import { connectQmp, type Qmp } from "labctl/guests/qmp.ts";
import { describeVmProblem } from "labctl/guests/vm-problems.ts";

const RUN = "/run/local/vm";
const PREPARED = "/run/local/vm-prepared";
/** What the console said until the guest was ready. */
const BOOT_LOG = "boot.log";
const LOOK_MS = 20;
const CONSOLE_LOOK_MS = 500;
/** Of those that a message shows. */
const CONSOLE_LINES = 20;
/** systemd's own timeouts, which began a little before this program, come after ours: they would not say why. */
const HEADROOM_MS = 2_000;
/** Ctrl-], as telnet(1) has it. */
const ESCAPE = 0x1d;

// Whoever reads has gone.
process.stdout.on("error", () => process.exit(1));
try {
  const [, , verb, name = ""] = process.argv;
  if (!GUEST_NAME.test(name)) throw new Error(`\`${name}\` can't be a guest`);
  if (verb === "ready") await awaitReady(name);
  else if (verb === "stop") await stop(name);
  else if (verb === "state") await state(name);
  else if (verb === "screenshot") await screenshot(name);
  else if (verb === "console") await showConsole(name);
  else throw new Error("wrong usage: monitor.mjs ready|stop|state|screenshot|console NAME");
} catch (error) {
  process.stderr.write(`error[vm] ${(error as Error).message}\n`);
  process.exitCode = 1;
}

async function awaitReady(name: string): Promise<void> {
  const { readySeconds, vsockPort } = readLimits(name);
  const deadline = performance.timeOrigin + patience(readySeconds);
  const folder = join(RUN, name);
  const qmp = await connectWhenThere(join(folder, "qmp"), deadline);
  let isReady = false;
  let isOver = qmp === undefined;
  void qmp?.ended.then(() => {
    isOver = true;
  });
  const hear = (text: string): void => {
    if (/^READY(=1)?\r?$/m.test(text)) isReady = true;
  };
  const port = isOver ? undefined : listen(join(folder, "ready"), hear);
  const vsock = isOver ? undefined : listenVsock(vsockPort, hear);
  let recent = "";
  let lookedAt = 0;
  // Ours is the last chance to say why: QEMU gets the same signal.
  process.once("SIGTERM", () => {
    isOver = true;
  });
  while (!isReady && !isOver && Date.now() < deadline) {
    if (qmp && Date.now() - lookedAt > CONSOLE_LOOK_MS) {
      recent = (recent + (await readConsole(qmp))).slice(-CONSOLE_BYTES);
      lookedAt = Date.now();
    }
    await sleep(LOOK_MS);
  }
  if (qmp && !isOver) recent = (recent + (await readConsole(qmp))).slice(-CONSOLE_BYTES);
  // QEMU gives each byte once; whoever opens the console later wants to see the boot.
  if (existsSync(folder)) writeFileSync(join(folder, BOOT_LOG), recent);
  port?.destroy();
  vsock?.kill();
  qmp?.close();
  if (isReady) {
    process.stdout.write(`guest \`${name}\` says that it is ready\n`);
    return;
  }
  const console = consoleLines(recent);
  const problem = isOver
    ? describeVmProblem({ kind: "ended", guest: name, console })
    : describeVmProblem({ kind: "not-ready", guest: name, seconds: readySeconds, console });
  process.stderr.write(`${formatDiagnostic(problem)}\n`);
  process.exitCode = 1;
}

async function stop(name: string): Promise<void> {
  const { stopSeconds } = readLimits(name);
  // It may have ended by itself, which is why systemd stops the unit.
  const qmp = await connectQmp(join(RUN, name, "qmp")).catch(() => undefined);
  if (!qmp) return;
  let isOver = false;
  void qmp.ended.then(() => {
    isOver = true;
  });
  const patienceMs = patience(stopSeconds);
  const deadline = performance.timeOrigin + patienceMs;
  await qmp.execute("system_powerdown").catch(() => {});
  while (!isOver && Date.now() < deadline) await sleep(LOOK_MS);
  if (isOver) return;
  process.stderr.write(
    `warning[vm-forced] guest \`${name}\` did not shut down within ${patienceMs / 1000} s of its power button, and is ended by force\n`,
  );
  qmp.close();
}

async function state(name: string): Promise<void> {
  const qmp = await control(name);
  const status = (await qmp.execute("query-status")) as Record<string, unknown>;
  const kvm = (await qmp.execute("query-kvm")) as { enabled: boolean };
  qmp.close();
  process.stdout.write(`${JSON.stringify({ name, ...status, accelerator: kvm.enabled ? "kvm" : "tcg" })}\n`);
}

async function screenshot(name: string): Promise<void> {
  const qmp = await control(name);
  const file = join(RUN, name, "screenshot.png");
  try {
    await qmp.execute("screendump", { filename: file, format: "png" });
    process.stdout.write(readOfGuest(file));
  } catch (error) {
    throw new Error(
      `guest \`${name}\` shows nothing: ${(error as Error).message}\n  help: say \`"display":true\` in \`vm\` of its definition`,
    );
  } finally {
    rmSync(file, { force: true });
    qmp.close();
  }
}

/** Keys go to the guest as they are. */
async function showConsole(name: string): Promise<void> {
  const qmp = await control(name);
  const log = join(RUN, name, BOOT_LOG);
  process.stdout.write((existsSync(log) ? readOfGuest(log).toString("utf8") : "") + (await readConsole(qmp)));
  qmp.close();
  const socket = connect(join(RUN, name, "console"));
  const input = process.stdin;
  if (input.isTTY) input.setRawMode(true);
  process.stderr.write(`\r\nconsole of guest \`${name}\`; Ctrl-] leaves it\r\n`);
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("close", () => resolve());
    socket.on("data", (chunk: Buffer) => process.stdout.write(chunk));
    input.on("data", (chunk: Buffer) => {
      const at = chunk.indexOf(ESCAPE);
      if (at < 0) socket.write(chunk);
      else socket.end(chunk.subarray(0, at));
    });
    input.on("end", () => socket.end());
  }).finally(() => {
    if (input.isTTY) input.setRawMode(false);
    input.pause();
  });
}

/** From the folder of the user whom QEMU runs as, by root: nothing that he may have put there is followed or waited for. */
function readOfGuest(file: string): Buffer {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

async function control(name: string): Promise<Qmp> {
  return connectQmp(join(RUN, name, "control")).catch(() => {
    throw new Error(`guest \`${name}\` does not run\n  help: systemctl start vm@${name}.service`);
  });
}

/** Of a limit, in milliseconds since this program began. */
function patience(seconds: number): number {
  return seconds * 1000 - Math.min(HEADROOM_MS, seconds * 250);
}

/** Undefined: QEMU did not come up in time, or ended at once. */
async function connectWhenThere(path: string, deadline: number): Promise<Qmp | undefined> {
  // systemd waits for this very program before it looks at how QEMU ended.
  const pid = process.env.MAINPID;
  while (Date.now() < deadline && (pid === undefined || existsSync(`/proc/${pid}`))) {
    const qmp = await connectQmp(path).catch(() => undefined);
    if (qmp) return qmp;
    await sleep(LOOK_MS);
  }
  return undefined;
}

function listen(path: string, hear: (text: string) => void): Socket {
  let heard = "";
  const socket = connect(path);
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    heard = (heard + chunk.toString("latin1")).slice(-1000);
    hear(heard);
  });
  return socket;
}

/** Node.js has no vsock. */
function listenVsock(
  port: number | undefined,
  hear: (text: string) => void,
): ReturnType<typeof spawn> | undefined {
  if (port === undefined) return undefined;
  const argv = ["-u", `VSOCK-LISTEN:${port},fork`, "-"];
  const socat = spawn("socat", argv, { stdio: ["ignore", "pipe", "ignore"] });
  socat.on("error", () => {});
  socat.stdout.on("data", (chunk: Buffer) => hear(chunk.toString("latin1")));
  return socat;
}

/** What came since the last look; empty where QEMU is too old to keep it. */
async function readConsole(qmp: Qmp): Promise<string> {
  const args = { device: "recent", size: CONSOLE_BYTES, format: "base64" };
  const answer = await qmp.execute("ringbuf-read", args).catch(() => "");
  return Buffer.from(String(answer), "base64").toString("utf8");
}

/** The last ones, without colours and movements of the cursor. */
function consoleLines(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const plain = text.replace(/\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc/g, "").replaceAll("\r", "");
  return plain.split("\n").filter((line) => line.trim() !== "").slice(-CONSOLE_LINES);
}

function readLimits(name: string): VmLimits {
  return JSON.parse(readFileSync(join(PREPARED, name, "limits.json"), "utf8")) as VmLimits;
}
