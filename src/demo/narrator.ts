/**
 * How the demo reads: numbered steps with their times, commands as they are run, their output indented and shortened.
 * Must not know what the steps do.
 */
import { spawn } from "node:child_process";
import { stripVTControlCharacters } from "node:util";

const INDENT = "    ";
/** Of a long list of files so many are shown. */
const LISTED_FILES = 5;
const FILE_LINE = /^ {2}[+~m-] \S/;

const STYLES = { bold: 1, dim: 2, green: 32, red: 31, cyan: 36 } as const;

export interface CommandEnd {
  /** 128 + n where signal n ended it; 127 if it could not be started. */
  readonly status: number;
  readonly ms: number;
  /** Both streams, in the order in which they came. */
  readonly output: string;
}

export interface CommandOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Counts steps from `firstStep` and prints to standard output. */
export class Narrator {
  /** The number that the next `begin` prints; another process may have told some steps meanwhile. */
  nextStep: number;
  private stepStartedAt = performance.now();
  private readonly colour: boolean;
  /** Infinity: no terminal, so lines stay as they are. */
  private readonly columns: number;

  constructor(firstStep = 1) {
    this.nextStep = firstStep;
    this.colour = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
    this.columns = process.stdout.isTTY
      ? Math.max(40, process.stdout.columns ?? 80)
      : Number.POSITIVE_INFINITY;
  }

  /** Opens the next step. */
  begin(title: string): void {
    this.stepStartedAt = performance.now();
    this.print("");
    this.print(this.paint("bold", `${String(this.nextStep).padStart(2)}. ${title}`));
    this.nextStep += 1;
  }

  /** Closes a step with what came of it. `ms` undefined: since `begin`. */
  end(outcome: string, ms = performance.now() - this.stepStartedAt): void {
    this.say(`${this.paint("green", "✓")} ${outcome} ${this.paint("dim", `(${formatTime(ms)})`)}`);
  }

  /** One line inside a step; broken at blanks where the terminal is narrower. */
  say(text: string): void {
    for (const line of wrap(text, this.columns - INDENT.length)) this.print(INDENT + line);
  }

  /** Like `say`, in a quiet colour. */
  aside(text: string): void {
    for (const line of wrap(text, this.columns - INDENT.length)) this.print(INDENT + this.paint("dim", line));
  }

  /** A line of a comparison: green from `+`, red from `-`. */
  change(line: string): void {
    const style = line.startsWith("+") ? "green" : line.startsWith("-") ? "red" : "dim";
    this.print(`${INDENT}  ${this.paint(style, cut(line, this.columns - INDENT.length - 2))}`);
  }

  /**
   * Prints `shown` as a command, runs `argv`, and prints its output as it comes, long lists of files shortened.
   * Never rejects.
   */
  run(shown: string, argv: readonly string[], options: CommandOptions): Promise<CommandEnd> {
    this.print(`${INDENT}${this.paint("cyan", `$ ${shown}`)}`);
    const [program = "", ...args] = argv;
    const startedAt = performance.now();
    const list = new FileList((line) => this.output(line));
    return new Promise((resolve) => {
      const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
      let output = "";
      for (const stream of [child.stdout, child.stderr]) {
        let partial = "";
        stream.setEncoding("utf8").on("data", (chunk: string) => {
          output += chunk;
          const lines = (partial + chunk).split("\n");
          partial = lines.pop() ?? "";
          for (const line of lines) list.add(line);
        });
        stream.on("end", () => {
          if (partial !== "") list.add(partial);
        });
      }
      const finish = (status: number) => {
        list.end();
        resolve({ status, ms: performance.now() - startedAt, output });
      };
      child.on("error", (error) => {
        list.add(error.message);
        finish(127);
      });
      child.on("close", (status, signal) => finish(status ?? (signal === "SIGINT" ? 130 : 143)));
    });
  }

  paint(style: keyof typeof STYLES, text: string): string {
    return this.colour ? `\u001b[${STYLES[style]}m${text}\u001b[0m` : text;
  }

  private output(line: string): void {
    const width = this.columns - INDENT.length - 2;
    // Columns are for those that fit; a narrow terminal shows more of the reason without them.
    const file = line.length > width ? line.replace(/(\S) {2,}/, "$1  ") : line;
    const lines = FILE_LINE.test(line) ? [cut(file, width)] : wrap(line, width);
    for (const piece of lines) this.print(`${INDENT}${this.paint("dim", "│")} ${piece}`);
  }

  private print(line: string): void {
    process.stdout.write(`${line}\n`);
  }
}

/** `84 ms`, `1.4 s`. Pure. */
export function formatTime(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Lets lines through, and of a run of file lines only the first few and how many more there were. */
class FileList {
  private readonly write: (line: string) => void;
  private length = 0;

  constructor(write: (line: string) => void) {
    this.write = write;
  }

  add(line: string): void {
    if (FILE_LINE.test(line)) {
      this.length += 1;
      if (this.length <= LISTED_FILES) this.write(line);
      return;
    }
    this.end();
    if (line !== "") this.write(line);
  }

  end(): void {
    const more = this.length - LISTED_FILES;
    this.length = 0;
    if (more > 0) this.write(`    … and ${more} more ${more === 1 ? "file" : "files"}`);
  }
}

/** Lines of at most `width` characters, later ones indented by four more; a longer word stays whole. Pure. */
export function wrap(text: string, width: number): string[] {
  if (visibleLength(text) <= width) return [text];
  const margin = `${/^ */.exec(text)?.[0] ?? ""}    `;
  const out: string[] = [];
  let line = /^ */.exec(text)?.[0] ?? "";
  let empty = true;
  for (const word of text.trim().split(" ")) {
    if (!empty && visibleLength(line) + 1 + visibleLength(word) > width) {
      out.push(line);
      line = margin;
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  out.push(line);
  return out;
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(1, width - 1))}…`;
}

function visibleLength(text: string): number {
  // Colours take no room.
  return stripVTControlCharacters(text).length;
}
