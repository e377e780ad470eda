/**
 * Shows a push to several machines as it goes: a table that is redrawn in place on a terminal, whole lines elsewhere.
 * Owns the terminal while it is open, and asks people their questions one at a time. Must not know how a push works.
 */
import { isEmpty } from "../../push/plan.ts";
import type { PushEvent } from "../../push/push-event.ts";
import { drawErr, printDiagnostics, printErr, whileDrawing } from "../print.ts";
import { eventLine, planLines } from "../show-plan.ts";
import { type TableRow, tableLines } from "./table.ts";
import { plannedActions, plannedFiles } from "./words.ts";

export interface FleetDisplay {
  event(machine: string, event: PushEvent): void;
  /** What all should know. */
  say(text: string): void;
  /** What a machine is at. */
  phase(machine: string, phase: string): void;
  /** What became of it: a word for the table, a line for the log. */
  end(machine: string, word: string, tone: "good" | "bad" | "waiting", line: string | undefined): void;
  /** Line below the table. */
  title(text: string): void;
  /** Runs a question to a person; what comes meanwhile waits, and so does the next question. */
  ask<T>(question: () => Promise<T>): Promise<T>;
  /** Takes the table away; call it before anything else is printed. */
  close(): void;
}

/** How a command wants its machines shown. */
export interface DisplayOptions {
  readonly quiet: boolean;
  /** False: one machine, or no terminal. */
  readonly live: boolean;
}

/** True where a table can be redrawn. Looks at standard error and the environment. */
export function isLiveTerminal(): boolean {
  return process.stderr.isTTY === true && process.env.TERM !== "dumb";
}

/** Opens the display for these machines, in this order. */
export function openDisplay(machines: readonly string[], options: DisplayOptions): FleetDisplay {
  return options.live && !options.quiet && machines.length > 1
    ? new TableDisplay(machines)
    : new LineDisplay(machines.length > 1, options.quiet);
}

/** One question after another. */
class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }
}

class LineDisplay implements FleetDisplay {
  readonly #several: boolean;
  readonly #quiet: boolean;
  readonly #turns = new Turns();

  constructor(several: boolean, quiet: boolean) {
    this.#several = several;
    this.#quiet = quiet;
  }

  event(machine: string, event: PushEvent): void {
    if (event.kind === "warning") printDiagnostics([event.diagnostic]);
    if (this.#quiet) return;
    if (event.kind === "planned" && !isEmpty(event.plan)) {
      const lines = planLines(event.plan);
      printErr(this.#several ? withName(machine, lines) : lines.join("\n"));
    }
    const line = eventLine(event);
    if (line !== undefined) printErr(`${machine}: ${line}`);
  }

  say(text: string): void {
    if (!this.#quiet) printErr(text);
  }

  phase(): void {}

  end(machine: string, _word: string, _tone: string, line: string | undefined): void {
    if (line !== undefined) this.say(`${machine}: ${line}`);
  }

  title(): void {}

  ask<T>(question: () => Promise<T>): Promise<T> {
    return this.#turns.take(question);
  }

  close(): void {}
}

/** The plan's first line names the machine already. */
function withName(machine: string, lines: readonly string[]): string {
  return lines.map((line, i) => (i === 0 ? line : `${machine}: ${line}`)).join("\n");
}

interface MutableRow {
  phase: string;
  tone: TableRow["tone"];
  files: number | undefined;
  units: [number, number] | undefined;
  beganAt: number | undefined;
  endedAt: number | undefined;
}

const REDRAW_MS = 100;
const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
const CLEAR_BELOW = "\u001b[J";
const CLEAR_LINE = "\u001b[K";

class TableDisplay implements FleetDisplay {
  readonly #rows = new Map<string, MutableRow>();
  readonly #turns = new Turns();
  readonly #timer: NodeJS.Timeout;
  /** Printed when the question that is open has its answer. */
  readonly #held: (() => void)[] = [];
  #asking = false;
  #closed = false;
  #title = "";
  /** Visible widths of the lines on the screen. */
  #drawn: readonly number[] = [];

  constructor(machines: readonly string[]) {
    for (const name of machines)
      this.#rows.set(name, {
        phase: "waiting",
        tone: "waiting",
        files: undefined,
        units: undefined,
        beganAt: undefined,
        endedAt: undefined,
      });
    this.#timer = setInterval(this.#draw, REDRAW_MS);
    this.#timer.unref();
    process.stderr.on("resize", this.#draw);
    process.on("exit", this.#restore);
    whileDrawing(this.#aside);
    drawErr(HIDE_CURSOR);
    this.#draw();
  }

  event(machine: string, event: PushEvent): void {
    const row = this.#rows.get(machine);
    if (!row) return;
    if (event.kind === "warning") printDiagnostics([event.diagnostic]);
    if (event.kind === "planned") {
      row.files = plannedFiles(event.plan);
      row.units = [0, plannedActions(event.plan)];
    }
    if (event.kind === "unit" && row.units) row.units[0] += 1;
    const phase = phaseAfter(event);
    if (phase !== undefined) this.phase(machine, phase);
    const stays = event.kind === "output" || event.kind === "note" || event.kind === "recovered";
    if (stays) this.say(`${machine}: ${eventLine(event)}`);
  }

  say(text: string): void {
    printErr(text);
  }

  phase(machine: string, phase: string): void {
    const row = this.#rows.get(machine);
    if (!row) return;
    row.beganAt ??= performance.now();
    row.endedAt = undefined;
    row.phase = phase;
    row.tone = "working";
  }

  end(machine: string, word: string, tone: "good" | "bad" | "waiting"): void {
    const row = this.#rows.get(machine);
    if (!row) return;
    row.phase = word;
    row.tone = tone;
    row.endedAt = performance.now();
  }

  title(text: string): void {
    this.#title = text;
  }

  ask<T>(question: () => Promise<T>): Promise<T> {
    return this.#turns.take(async () => {
      this.#erase();
      drawErr(SHOW_CURSOR);
      this.#asking = true;
      try {
        return await question();
      } finally {
        this.#asking = false;
        drawErr(HIDE_CURSOR);
        for (const print of this.#held.splice(0)) print();
        this.#draw();
      }
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#erase();
    this.#restore();
    clearInterval(this.#timer);
    process.stderr.off("resize", this.#draw);
    process.off("exit", this.#restore);
  }

  /** Lines that stay go above the table. */
  readonly #aside = (print: () => void): void => {
    if (this.#asking) {
      this.#held.push(print);
      return;
    }
    this.#erase();
    print();
    this.#draw();
  };

  readonly #restore = (): void => {
    if (this.#closed) return;
    this.#closed = true;
    whileDrawing(undefined);
    drawErr(SHOW_CURSOR);
  };

  /** Up to the table's first line: a terminal that became narrower has broken its lines into several. */
  #upwards(): string {
    const columns = screen().columns;
    const rows = this.#drawn.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / columns)), 0);
    return rows === 0 ? "\r" : `\r\u001b[${rows}A`;
  }

  #erase(): void {
    if (this.#drawn.length > 0) drawErr(this.#upwards() + CLEAR_BELOW);
    this.#drawn = [];
  }

  readonly #draw = (): void => {
    if (this.#asking || this.#closed) return;
    const now = performance.now();
    const rows = [...this.#rows].map(([name, row]): TableRow => {
      const ms = row.beganAt === undefined ? undefined : (row.endedAt ?? now) - row.beganAt;
      return { name, phase: row.phase, tone: row.tone, files: row.files, units: row.units, ms };
    });
    const lines = tableLines(rows, this.#title, screen());
    drawErr(this.#upwards() + lines.map((line) => `${line}${CLEAR_LINE}\n`).join("") + CLEAR_BELOW);
    this.#drawn = lines.map(visibleWidth);
  };
}

/** What a machine is at after an event; undefined: still the same. Pure. */
function phaseAfter(event: PushEvent): string | undefined {
  switch (event.kind) {
    case "connected":
      return "looking";
    case "planned":
      return event.plan.packages.length > 0 ? "installing packages" : "sending";
    case "packages":
      return "sending";
    case "committing":
      return "committing";
    case "committed":
      return "applying";
    case "reloaded":
      return "daemon-reload";
    case "trigger":
      return `trigger ${event.name}`;
    case "unit":
      return `${event.action} ${event.unit}`;
    case "check":
      return `check ${event.name.split("/").at(-1) ?? ""}`;
    default:
      return undefined;
  }
}

function screen(): { readonly columns: number; readonly rows: number } {
  return { columns: process.stderr.columns || 80, rows: process.stderr.rows || 24 };
}

function visibleWidth(line: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour is a control sequence
  return line.replace(/\u001b\[\d+m/g, "").length;
}
