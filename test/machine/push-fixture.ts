/**
 * Pushing to real machines: the real bundled program, a repository copied from this one, and looks at the machine past
 * its sshd. Must not know what a push should do.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import type { Bed, BootOptions } from "../../src/twin/bed.ts";
import type { Machine } from "../../src/twin/machine.ts";
import { type Files, temporaryFolder, writeFiles } from "../temporary-repository.ts";
import { unwrap } from "./bed-fixture.ts";

const PACKAGE_ROOT = join(import.meta.dirname, "../..");

/** Commands that know no options of connections. */
const OFFLINE: readonly string[] = ["build", "init", "ip", "secret", "twin", "why", "wireguard"];

/** Set by `bundleProgram`: tests that run while sources change must not see half of two programs. */
let program: string | undefined;

function bundledProgram(): string {
  if (program) return program;
  // Beside the package's own layers, as an installed labctl has them.
  const done = spawnSync(process.execPath, [join(PACKAGE_ROOT, "src/bundle.mjs")], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  const folder = temporaryFolder("program", true);
  removeAtExit(folder);
  // `src` is what programs of layers import.
  for (const name of ["dist", "layers", "package.json", "src"])
    cpSync(join(PACKAGE_ROOT, name), join(folder, name), { recursive: true, verbatimSymlinks: true });
  symlinkSync(join(PACKAGE_ROOT, "node_modules"), join(folder, "node_modules"));
  program = join(folder, "dist/labctl.cjs");
  return program;
}

/** Not `after`: within a test that means the end of this one test. */
function removeAtExit(folder: string): void {
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
}

export interface Answer {
  readonly code: number | null;
  readonly stdout: string;
  /** Times, ids and the bed's folder are replaced by words. */
  readonly stderr: string;
  readonly ms: number;
}

export interface Lab {
  readonly root: string;
  readonly bed: Bed;
  write(files: Files): void;
  /** Replaces text in a file, which must be there. */
  edit(path: string, from: string, to: string): void;
  read(path: string): string;
  remove(path: string): void;
  /** Runs labctl in the repository with the bed's ssh configuration, or that of `LABCTL_TEST_SSH_CONFIG` in `env`. */
  run(args: readonly string[], options?: RunOptions): Promise<Answer>;
  /** Fails the test unless labctl ends with `code`. */
  expect(code: number, args: readonly string[], options?: RunOptions): Promise<Answer>;
  /** Starts it without waiting. */
  start(args: readonly string[], options?: RunOptions): { child: ChildProcess; answer: Promise<Answer> };
}

export interface RunOptions {
  /** Instead of the bed's; undefined: the bed's. */
  readonly sshConfig?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A copy of this repository's layers, machines and facts whose machine `demo` is the given one. */
export function labFor(bed: Bed, host: string): Lab {
  const file = bundledProgram();
  const root = temporaryFolder("lab", true);
  removeAtExit(root);
  for (const name of ["lab.ini", "layers", "machines", "facts"])
    cpSync(join(PACKAGE_ROOT, name), join(root, name), { recursive: true, verbatimSymlinks: true });
  const lab: Lab = {
    root,
    bed,
    write: (files) => writeFiles(root, files),
    edit(path, from, to) {
      const text = readFileSync(join(root, path), "utf8");
      assert.ok(text.includes(from), `${path} has no ${JSON.stringify(from)}`);
      writeFileSync(
        join(root, path),
        text.replace(from, () => to),
      );
    },
    read: (path) => readFileSync(join(root, path), "utf8"),
    remove: (path) => rmSync(join(root, path), { recursive: true }),
    start(args, options = {}) {
      const [command = "", ...rest] = args;
      const config = options.sshConfig ?? bed.sshConfigFile;
      const startedAt = performance.now();
      const remote = OFFLINE.includes(command) ? [] : ["--ssh-config", config];
      const child = spawn(process.execPath, [file, command, ...remote, ...rest], {
        cwd: root,
        env: { PATH: process.env.PATH, HOME: root, USER: "tester", ...options.env },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let stdout = "";
      let stderr = "";
      child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
        stdout += chunk;
      });
      child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
        stderr += chunk;
      });
      const answer = new Promise<Answer>((resolve) => {
        child.on("close", (code) =>
          resolve({ code, stdout, stderr: withoutChance(stderr, lab), ms: performance.now() - startedAt }),
        );
      });
      return { child, answer };
    },
    run: (args, options) => lab.start(args, options).answer,
    async expect(code, args, options) {
      const answer = await lab.run(args, options);
      assert.equal(answer.code, code, `labctl ${args.join(" ")}\n${answer.stderr}${answer.stdout}`);
      return answer;
    },
  };
  lab.edit("machines/demo/machine.ini", "host = demo", `host = ${host}`);
  return lab;
}

/** Takes out what differs from run to run. Pure. */
function withoutChance(text: string, lab: { readonly root: string; readonly bed: Bed }): string {
  return text
    .replaceAll(lab.root, "<repo>")
    .replaceAll(lab.bed.folder, "<bed>")
    .replace(/\b\d+(\.\d+)? (ms|s)\)/g, "<ms>)")
    .replace(/ in \d+(\.\d+)? (ms|s)$/gm, " in <ms>")
    .replace(/\b[0-9a-f]{12}\b/g, "<id>")
    .replace(/SHA256:[A-Za-z0-9+/]{43}/g, "SHA256:<print>");
}

let booted = 0;

/** Boots a machine that stays until the bed closes. */
export async function bootMachine(bed: Bed, options: Partial<BootOptions> = {}): Promise<Machine> {
  booted += 1;
  return unwrap(await bed.boot({ name: `p${booted}`, ...options }));
}

/** Runs a shell script in the machine, past its sshd; fails the test if it fails. */
export async function inside(machine: Machine, script: string): Promise<string> {
  const end = await machine.runInside(["bash", "-c", script]);
  assert.equal(end.status, 0, `${script}: ${end.stderr}${end.stdout}`);
  return end.stdout;
}

/** What the machine's web server answers for a path. */
export function page(machine: Machine, path = "/", port = 80): Promise<string> {
  return inside(machine, `curl -s --max-time 5 http://127.0.0.1:${port}${path}`);
}

export interface UnitState {
  readonly invocation: string;
  readonly state: string;
  /** Microseconds since boot of the last state change; a reload counts as one. */
  readonly changed: string;
}

/** Every loaded unit that can run, except those that come and go by themselves. */
export async function unitStates(
  machine: Machine,
  patterns = "'*.service' '*.socket' '*.timer' '*.path' '*.mount'",
): Promise<Map<string, UnitState>> {
  const text = await inside(
    machine,
    `systemctl show --property=Id,InvocationID,ActiveState,StateChangeTimestampMonotonic ${patterns}`,
  );
  const out = new Map<string, UnitState>();
  for (const block of text.split("\n\n")) {
    const values = new Map(
      block.split("\n").map((line) => {
        const at = line.indexOf("=");
        return [line.slice(0, at), line.slice(at + 1)] as const;
      }),
    );
    const id = values.get("Id") ?? "";
    if (id === "" || TRANSIENT.test(id)) continue;
    out.set(id, {
      invocation: values.get("InvocationID") ?? "",
      state: values.get("ActiveState") ?? "",
      changed: values.get("StateChangeTimestampMonotonic") ?? "",
    });
  }
  return out;
}

/** The pusher's own timer, logins, and what systemd starts by itself now and then. */
const TRANSIENT =
  /^(labctl-revert\.|session-|user@|user-\d+\.slice|system-.+\.slice|user-runtime-dir@|run-user-|run-credentials-|systemd-tmpfiles-clean|systemd-hostnamed|systemd-localed|systemd-timedated|sshd?@)/;

/** `restart nginx.service` for each unit that differs between two looks, sorted. Pure. */
export function unitDifference(
  before: ReadonlyMap<string, UnitState>,
  after: ReadonlyMap<string, UnitState>,
): string[] {
  const running = (s: UnitState | undefined): boolean => s?.state === "active";
  const out: string[] = [];
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const a = before.get(name);
    const b = after.get(name);
    if (!running(a) && !running(b)) {
      if (a && b && a.changed !== b.changed) out.push(`ran ${name}`);
    } else if (!running(a)) out.push(`start ${name}`);
    else if (!running(b)) out.push(`stop ${name}`);
    else if (a?.invocation !== b?.invocation) out.push(`restart ${name}`);
    // A socket's state also follows that of its service; only services reload.
    else if (a?.changed !== b?.changed && name.endsWith(".service")) out.push(`reload ${name}`);
  }
  return out.sort();
}

/** `path → type, mode, owner, inode, ctime and link target` of everything under /usr/local but labctl's stage. */
export async function liveTree(machine: Machine): Promise<string[]> {
  const text = await inside(
    machine,
    "cd /usr/local && find . -path ./.labctl/stage -prune -o -path ./.labctl/lock -prune -o -path ./.labctl -o -printf '%p %y %m %u:%g %i %C@ %l\\n' | sort",
  );
  return text.trimEnd().split("\n");
}

/** `path → hash or link target and mode` of what is under /usr/local besides labctl's own folder. */
export async function liveContents(machine: Machine): Promise<Map<string, string>> {
  const text = await inside(
    machine,
    `cd /usr/local && find . -path ./.labctl -prune -o -mindepth 1 -printf '%P\\t%y %m %u:%g %l\\n' | sort
     echo; find . -path ./.labctl -prune -o -type f -print0 | sort -z | xargs -0 -r sha256sum`,
  );
  const [list = "", sums = ""] = text.split("\n\n");
  const hashes = new Map(
    sums
      .split("\n")
      .filter(Boolean)
      .map((line) => [line.slice(68), line.slice(0, 64)] as const),
  );
  return new Map(
    list
      .split("\n")
      .filter(Boolean)
      .map((line) => {
        const [path = "", rest = ""] = line.split("\t");
        return [path, `${rest}${hashes.get(path) ?? ""}`] as const;
      }),
  );
}
