/** How the table of machines looks at one moment: rows in, lines out. Must not know where it is shown. Pure but for colour. */
import { printable } from "../../diagnostics.ts";
import { formatMs, paint } from "../print.ts";

export interface TableRow {
  readonly name: string;
  /** What it is at, or what became of it. */
  readonly phase: string;
  readonly tone: "waiting" | "working" | "good" | "bad";
  /** Undefined: not planned yet. */
  readonly files: number | undefined;
  /** Unit actions done, and planned. */
  readonly units: readonly [number, number] | undefined;
  /** Undefined: not begun. */
  readonly ms: number | undefined;
}

export interface Screen {
  readonly columns: number;
  readonly rows: number;
}

const MOST_NAME = 24;
/** Narrower than this, counts give way to the phase. */
const COUNTS_FROM_COLUMNS = 56;
const FILES_WIDTH = 5;
const UNITS_WIDTH = 5;
const MS_WIDTH = 8;
const GAP = "  ";
/**
 * The column is as wide as what stands in it, in steps so that it stays calm. Short lines survive a terminal that becomes
 * narrower: a broken line pushes others out of the screen, where no cursor can reach them.
 */
const PHASE_STEP = 12;

/** Those that matter most while there is no room for all. */
const RANK: Readonly<Record<TableRow["tone"], number>> = { bad: 0, working: 1, good: 2, waiting: 3 };

const STYLE = { waiting: "dim", working: "blue", good: "green", bad: "red" } as const;

/** No line is as wide as the screen, and all fit into its height with one to spare. Pure but for colour. */
export function tableLines(rows: readonly TableRow[], title: string, screen: Screen): string[] {
  const width = Math.max(16, screen.columns - 1);
  const room = Math.max(1, screen.rows - 4);
  const cut = rows.length > room;
  const shown = cut ? chosen(rows, room - 1) : rows;
  const nameWidth = Math.min(MOST_NAME, Math.max(7, ...rows.map((r) => r.name.length)));
  const counts = width >= COUNTS_FROM_COLUMNS;
  const right = (counts ? FILES_WIDTH + UNITS_WIDTH + 2 * GAP.length : 0) + MS_WIDTH + GAP.length;
  const roomForPhase = Math.max(4, width - nameWidth - GAP.length - right);
  const longest = Math.max(...shown.map((r) => printable(r.phase).length));
  const phaseWidth = Math.min(roomForPhase, Math.ceil(longest / PHASE_STEP) * PHASE_STEP);
  const line = (name: string, phase: string, cells: readonly string[], style: keyof typeof PAINT): string => {
    const [files = "", units = "", ms = ""] = cells;
    const numbers = counts
      ? [files.padStart(FILES_WIDTH), units.padStart(UNITS_WIDTH), ms.padStart(MS_WIDTH)]
      : [ms.padStart(MS_WIDTH)];
    const padded = clip(phase, phaseWidth).padEnd(phaseWidth);
    return `${clip(name, nameWidth).padEnd(nameWidth)}${GAP}${PAINT[style](padded)}${GAP}${numbers.join(GAP)}`;
  };
  const out = [paint("dim", strip(line("machine", "", ["files", "units", "time"], "waiting"), width))];
  for (const row of shown) {
    const units = row.units === undefined ? "" : `${row.units[0]}/${row.units[1]}`;
    const ms = row.ms === undefined ? "" : formatMs(row.ms);
    out.push(line(row.name, printable(row.phase), [String(row.files ?? ""), units, ms], row.tone));
  }
  if (cut) out.push(paint("dim", clip(`… and ${rows.length - shown.length} more`, width)));
  out.push(paint("dim", clip([title, counted(rows)].filter(Boolean).join("; "), width)));
  return out;
}

const TONE_WORDS = { bad: "failed", good: "done", working: "at work", waiting: "waiting" } as const;

/** `1 failed, 2 done, 3 at work`. Pure. */
function counted(rows: readonly TableRow[]): string {
  return (["bad", "good", "working", "waiting"] as const)
    .map((tone) => [rows.filter((r) => r.tone === tone).length, TONE_WORDS[tone]] as const)
    .flatMap(([n, word]) => (n === 0 ? [] : [`${n} ${word}`]))
    .join(", ");
}

const PAINT = {
  waiting: (text: string) => paint(STYLE.waiting, text),
  working: (text: string) => paint(STYLE.working, text),
  good: (text: string) => paint(STYLE.good, text),
  bad: (text: string) => paint(STYLE.bad, text),
} as const;

/** The most telling ones, in their own order. */
function chosen(rows: readonly TableRow[], room: number): TableRow[] {
  const ranked = [...rows.entries()].sort(([i, a], [j, b]) => RANK[a.tone] - RANK[b.tone] || i - j);
  const kept = new Set(ranked.slice(0, room).map(([i]) => i));
  return rows.filter((_, i) => kept.has(i));
}

function clip(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}

/** The header has no colour inside that could be cut. */
function strip(text: string, width: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour is a control sequence
  return clip(text.replace(/\u001b\[\d+m/g, ""), width);
}
