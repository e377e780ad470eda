/** Finds and runs other programs: no shell, no terminal, a fixed locale, a time limit. Must not know any program. */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

export interface ProgramResult {
  /** Undefined: a signal ended it, or it could not be started. */
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Programs for root are often outside the PATH of others, who may run their checks all the same. */
const MORE_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/** The program's path; undefined if it is not installed. Reads the environment and the file system. */
export function findProgram(name: string): string | undefined {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), ...MORE_FOLDERS]) {
    if (folder === "") continue;
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {}
  }
  return undefined;
}

/** Runs to the end, or for a minute. Never throws: what went wrong is in `stderr`. */
export function runProgram(
  file: string,
  args: readonly string[],
  options: {
    readonly cwd?: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly uid?: number;
    readonly gid?: number;
  } = {},
): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const { env, ...rest } = options;
    const child = spawn(file, [...args], {
      ...rest,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 60_000,
      // Messages are read by program: no translation; and nothing that slows down or steers a child.
      env: { PATH: process.env.PATH ?? "", LC_ALL: "C.UTF-8", ...env },
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (data: Buffer) => out.push(data));
    child.stderr.on("data", (data: Buffer) => err.push(data));
    let failure = "";
    child.on("error", (error) => {
      failure = error.message;
      resolve({ status: undefined, stdout: "", stderr: failure });
    });
    child.on("close", (status) =>
      resolve({
        status: status ?? undefined,
        stdout: Buffer.concat(out).toString("utf8"),
        stderr: Buffer.concat(err).toString("utf8"),
      }),
    );
  });
}
