/**
 * A machine reduced to a folder: the real remote program run by the real bash on a temporary tree root, with
 * stand-ins for systemd's programs that record how they were called. What systemd itself does is tested on booted
 * machines, not here.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { remoteProgram } from "../../src/push/remote/program.ts";

export const PROGRAM: string = remoteProgram("commit");

/** `d 755`, `f 644 content` or `l target`, by path relative to the tree root; labctl's own folder left out. */
export type Snapshot = Readonly<Record<string, string>>;

export interface Answer {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly records: readonly (readonly string[])[];
  /** The last record's status; undefined if the program did not get that far. */
  readonly done: string | undefined;
  /** `code detail` of every problem. */
  readonly problems: readonly string[];
}

export interface Machine {
  readonly root: string;
  run(verb: string, args?: readonly string[], data?: string, env?: Readonly<Record<string, string>>): Answer;
  /** Writes tree files as an administrator would. A value starting with `->` makes a link, `/` a folder. */
  write(files: Readonly<Record<string, string>>, under?: string): void;
  /** Stages files and commits them; `ops` without expect, generation and end. */
  commit(
    n: number,
    files: Readonly<Record<string, string>>,
    ops: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Answer;
  snapshot(): Snapshot;
  /** How the stand-ins were called since the last time, one call a line. */
  calls(): string[];
  state(name: string): string | undefined;
}

const [USER, GROUP] = ["-un", "-gn"].map((flag) =>
  spawnSync("id", [flag], { encoding: "utf8" }).stdout.trim(),
);

/** An operation that carries attributes; the owner is whoever runs the test. */
export function op(
  verb: "put" | "dir" | "attr",
  path: string,
  mode = verb === "dir" ? "755" : "644",
): string {
  return `${verb}\t${mode}\t${USER}\t${GROUP}\t${path}`;
}

export function newMachine(t: TestContext): Machine {
  const base = mkdtempSync(join(tmpdir(), "labctl-remote-"));
  t.after(() => rmSync(base, { recursive: true, force: true }));
  const root = join(base, "usr local");
  const log = join(base, "calls");
  mkdirSync(root);
  mkdirSync(join(base, "bin"));
  const standIn = `#!/bin/bash
printf '%s\\n' "\${0##*/} $*" >>"$FAKE_LOG"
case "\${0##*/} $1" in
  'systemctl --version') echo 'systemd 252 (252.1)' ;;
  'systemctl list-units') [[ ! -e $FAKE_LOG.failed ]] || cat "$FAKE_LOG.failed" ;;
  'systemctl show') for u in "$@"; do [[ $u != *.service ]] || printf 'Id=%s\\nActiveState=active\\nSubState=running\\n\\n' "$u"; done ;;
  'systemctl start'|'systemctl restart'|'systemctl reload')
    [[ -n \${FAKE_FAIL-} && " $* " == *" $FAKE_FAIL "* ]] && { echo "Job for $FAKE_FAIL failed" >&2; exit 1; } ;;
  systemd-detect-virt*) exit 1 ;;
  'systemctl --quiet') [[ "$*" != *not-there* ]] || exit 3 ;;
esac
[[ "\${0##*/}" != "\${FAKE_BROKEN-}" ]]
`;
  for (const name of [
    "systemctl",
    "systemd-run",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "systemd-sysctl",
    "networkctl",
    "journalctl",
    "nft",
    "systemd-detect-virt",
  ]) {
    writeFileSync(join(base, "bin", name), standIn, { mode: 0o755 });
  }

  const run: Machine["run"] = (verb, args = [], data = "", env = {}) => {
    // What a push sends for this verb.
    const program = remoteProgram(verb);
    const size = Buffer.byteLength(program);
    const child = spawnSync(
      "bash",
      // With a socket as its standard input bash takes itself for rshd's and reads ~/.bashrc.
      ["--norc", "-c", `LABCTL_PROGRAM=$(head -c ${size}); eval "$LABCTL_PROGRAM"`, "labctl", verb, ...args],
      {
        input: program + data,
        encoding: "utf8",
        maxBuffer: 1 << 26,
        env: {
          PATH: `${join(base, "bin")}:${process.env.PATH ?? ""}`,
          LABCTL_ROOT: root,
          LABCTL_SYSTEMD_LIBRARY: join(base, "bin"),
          FAKE_LOG: log,
          ...env,
        },
      },
    );
    const records = child.stdout
      .split("\n")
      .slice(0, -1)
      .map((line) => line.split("\t"));
    return {
      status: child.status,
      signal: child.signal,
      stdout: child.stdout,
      stderr: child.stderr,
      records,
      done: records.findLast((r) => r[0] === "done")?.[1],
      problems: records.filter((r) => r[0] === "problem").map((r) => r.slice(1).join(" ")),
    };
  };

  const write: Machine["write"] = (files, under = root) => {
    for (const [path, text] of Object.entries(files)) {
      const full = join(under, path);
      mkdirSync(text === "/" ? full : dirname(full), { recursive: true });
      if (text === "/") continue;
      if (text.startsWith("->")) symlinkSync(text.slice(2), full);
      else writeFileSync(full, text);
    }
  };

  return {
    root,
    run,
    write,
    commit(n, files, ops, env) {
      rmSync(join(root, ".labctl/stage/s1"), { recursive: true, force: true });
      const begun = run("stage-begin", ["s1"]);
      if (begun.done !== "ok") throw new Error(begun.stdout + begun.stderr);
      const stage = join(root, ".labctl/stage/s1");
      write(files, join(stage, "tree"));
      writeFileSync(join(stage, "manifest.json"), `{"generation":${n}}\n`);
      const list = [`expect\t${n - 1}`, `generation\t${n}\t${String(n).padStart(64, "0")}`, ...ops, "end"];
      return run("commit", ["s1", "tester@here"], `${list.join("\n")}\n`, env);
    },
    snapshot: () => snapshotOf(root),
    calls() {
      if (!existsSync(log)) return [];
      const lines = readFileSync(log, "utf8").split("\n").slice(0, -1);
      rmSync(log);
      return lines
        .filter((line) => !/^systemctl (--version|list-units|show)/.test(line))
        .map((line) => line.replace(/@\d{10}\b/, "@<time>").replace(/\S* \S*\/stage\/\w+\/tree/g, "<stage>"));
    },
    state(name) {
      const path = join(root, ".labctl", name);
      return existsSync(path) ? readFileSync(path, "utf8") : undefined;
    },
  };
}

function snapshotOf(root: string): Snapshot {
  const out: Record<string, string> = {};
  const visit = (relative: string): void => {
    for (const name of readdirSync(join(root, relative)).sort()) {
      const path = relative === "" ? name : `${relative}/${name}`;
      if (path === ".labctl") continue;
      const full = join(root, path);
      const stat = lstatSync(full);
      const mode = (stat.mode & 0o7777).toString(8);
      if (stat.isSymbolicLink()) out[path] = `l ${readlinkSync(full)}`;
      else if (stat.isDirectory()) {
        out[path] = `d ${mode}`;
        visit(path);
      } else out[path] = `f ${mode} ${readFileSync(full, "utf8")}`;
    }
  };
  visit("");
  return out;
}

/** Makes a file unreadable or executable, as an administrator would. */
export function setMode(machine: Machine, path: string, mode: number): void {
  chmodSync(join(machine.root, path), mode);
}
