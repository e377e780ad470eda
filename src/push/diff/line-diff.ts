/**
 * Compares two texts line by line and gives unified hunks. Pure; must not know files, machines or terminals.
 * Lines that occur once on both sides are matched first (patience), what lies between them by Myers' greedy search. Where
 * that would take long, the whole piece counts as replaced: a diff that is longer than needed, but true.
 */

export interface Hunk {
  /** First line of each side, from 1; 0 where that side has no line in the hunk and nothing before it. */
  readonly oldStart: number;
  readonly oldCount: number;
  readonly newStart: number;
  readonly newCount: number;
  readonly lines: readonly HunkLine[];
}

export interface HunkLine {
  readonly kind: " " | "-" | "+";
  /** Without its newline. */
  readonly text: string;
  /** True for a last line that no newline ends. */
  readonly unended: boolean;
}

/** Lines of context around a change, as diff(1) has them. */
const CONTEXT = 3;

/** Myers' search gives up on a piece that needs more edits than this; its memory grows with the square. */
const MOST_EDITS = 600;

/** Lines that are equal on both sides: `old` and `new` count from 0. */
interface Match {
  readonly old: number;
  readonly new: number;
}

/** Empty: the texts are equal. Pure. */
export function diffHunks(before: string, after: string): Hunk[] {
  if (before === after) return [];
  const old = linesOf(before);
  const fresh = linesOf(after);
  const numbers = new Map<string, number>();
  const number = (line: string): number => {
    let n = numbers.get(line);
    if (n === undefined) {
      n = numbers.size;
      numbers.set(line, n);
    }
    return n;
  };
  const matches = matchLines(old.map(number), fresh.map(number));
  return hunksOf(old, fresh, matches);
}

/** Each with its newline, so that a last line without one differs from the same line with it. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function matchLines(a: readonly number[], b: readonly number[]): Match[] {
  const out: Match[] = [];
  const pieces: [number, number, number, number][] = [[0, a.length, 0, b.length]];
  for (let piece = pieces.pop(); piece; piece = pieces.pop()) {
    let [aFrom, aTo, bFrom, bTo] = piece;
    for (; aFrom < aTo && bFrom < bTo && a[aFrom] === b[bFrom]; aFrom++, bFrom++)
      out.push({ old: aFrom, new: bFrom });
    for (; aFrom < aTo && bFrom < bTo && a[aTo - 1] === b[bTo - 1]; aTo--, bTo--)
      out.push({ old: aTo - 1, new: bTo - 1 });
    if (aFrom === aTo || bFrom === bTo) continue;
    const anchors = uniqueMatches(a, aFrom, aTo, b, bFrom, bTo);
    if (anchors.length === 0) {
      out.push(...shortestEdit(a.slice(aFrom, aTo), b.slice(bFrom, bTo), aFrom, bFrom));
      continue;
    }
    let [aAt, bAt] = [aFrom, bFrom];
    for (const anchor of anchors) {
      out.push(anchor);
      pieces.push([aAt, anchor.old, bAt, anchor.new]);
      [aAt, bAt] = [anchor.old + 1, anchor.new + 1];
    }
    pieces.push([aAt, aTo, bAt, bTo]);
  }
  return out.sort((x, y) => x.old - y.old);
}

/** Lines that each side of a piece has exactly once, as many as keep their order (longest increasing run). */
function uniqueMatches(
  a: readonly number[],
  aFrom: number,
  aTo: number,
  b: readonly number[],
  bFrom: number,
  bTo: number,
): Match[] {
  const places = (list: readonly number[], from: number, to: number): Map<number, number> => {
    const seen = new Map<number, number>();
    // -1: more than once.
    for (let i = from; i < to; i++) seen.set(list[i] as number, seen.has(list[i] as number) ? -1 : i);
    return seen;
  };
  const inB = places(b, bFrom, bTo);
  const pairs: Match[] = [];
  for (const [line, old] of places(a, aFrom, aTo)) {
    const at = inB.get(line);
    if (old >= 0 && at !== undefined && at >= 0) pairs.push({ old, new: at });
  }
  // Piles of patience sorting: the top of each, and for each pair the top of the pile to its left.
  const tops: number[] = [];
  const left: number[] = [];
  for (const [i, pair] of pairs.entries()) {
    let [low, high] = [0, tops.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((pairs[tops[middle] as number] as Match).new < pair.new) low = middle + 1;
      else high = middle;
    }
    left.push(low > 0 ? (tops[low - 1] as number) : -1);
    tops[low] = i;
  }
  const run: Match[] = [];
  for (let i = tops.at(-1) ?? -1; i >= 0; i = left[i] as number) run.push(pairs[i] as Match);
  return run.reverse();
}

/** Myers (1986), the greedy algorithm; matches only. Empty where it would take too many edits. */
function shortestEdit(a: readonly number[], b: readonly number[], aShift: number, bShift: number): Match[] {
  const most = Math.min(a.length + b.length, MOST_EDITS);
  const reach = new Int32Array(2 * most + 3);
  const middle = most + 1;
  const trace: Int32Array[] = [];
  for (let edits = 0; edits <= most; edits++) {
    trace.push(reach.slice(middle - edits, middle + edits + 1));
    for (let k = -edits; k <= edits; k += 2) {
      const down =
        k === -edits ||
        (k !== edits && (reach[middle + k - 1] as number) < (reach[middle + k + 1] as number));
      let x = down ? (reach[middle + k + 1] as number) : (reach[middle + k - 1] as number) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      reach[middle + k] = x;
      if (x >= a.length && x - k >= b.length) return walkBack(trace, a.length, b.length, aShift, bShift);
    }
  }
  return [];
}

/** `trace[d]` holds, for the diagonals -d to d, how far the search had come before its step d. */
function walkBack(
  trace: readonly Int32Array[],
  aLength: number,
  bLength: number,
  aShift: number,
  bShift: number,
): Match[] {
  const out: Match[] = [];
  let [x, y] = [aLength, bLength];
  for (let edits = trace.length - 1; edits >= 0; edits--) {
    const reach = trace[edits] as Int32Array;
    const at = (k: number): number => reach[k + edits] ?? 0;
    const k = x - y;
    const down = k === -edits || (k !== edits && at(k - 1) < at(k + 1));
    const from = down ? k + 1 : k - 1;
    const fromX = edits === 0 ? 0 : at(from);
    const fromY = edits === 0 ? 0 : fromX - from;
    while (x > fromX && y > fromY) {
      x--;
      y--;
      out.push({ old: x + aShift, new: y + bShift });
    }
    [x, y] = [fromX, fromY];
  }
  return out;
}

function hunksOf(old: readonly string[], fresh: readonly string[], matches: readonly Match[]): Hunk[] {
  const script: { readonly kind: HunkLine["kind"]; readonly line: string }[] = [];
  let [a, b] = [0, 0];
  for (const match of [...matches, { old: old.length, new: fresh.length }]) {
    for (; a < match.old; a++) script.push({ kind: "-", line: old[a] as string });
    for (; b < match.new; b++) script.push({ kind: "+", line: fresh[b] as string });
    if (a < old.length) script.push({ kind: " ", line: old[a] as string });
    a++;
    b++;
  }
  const out: Hunk[] = [];
  let [oldAt, newAt] = [1, 1];
  let at = 0;
  while (at < script.length) {
    const change = script.findIndex((s, i) => i >= at && s.kind !== " ");
    if (change < 0) break;
    const from = Math.max(at, change - CONTEXT);
    oldAt += from - at;
    newAt += from - at;
    let end = change;
    // Changes that are near each other share a hunk.
    for (let quiet = 0; end < script.length && quiet <= 2 * CONTEXT; end++)
      quiet = script[end]?.kind === " " ? quiet + 1 : 0;
    let last = end - 1;
    while (script[last]?.kind === " ") last--;
    end = Math.min(script.length, last + 1 + CONTEXT);
    const lines = script.slice(from, end).map(({ kind, line }) => {
      const unended = !line.endsWith("\n");
      return { kind, text: unended ? line : line.slice(0, -1), unended };
    });
    const oldCount = lines.filter((l) => l.kind !== "+").length;
    const newCount = lines.filter((l) => l.kind !== "-").length;
    out.push({
      // diff(1): the line before it, where a side has none in the hunk.
      oldStart: oldCount === 0 ? oldAt - 1 : oldAt,
      oldCount,
      newStart: newCount === 0 ? newAt - 1 : newAt,
      newCount,
      lines,
    });
    oldAt += oldCount;
    newAt += newCount;
    at = end;
  }
  return out;
}

/** `@@ -1,3 +1,4 @@`. Pure. */
export function hunkHeader(h: Hunk): string {
  const side = (start: number, count: number): string => (count === 1 ? `${start}` : `${start},${count}`);
  return `@@ -${side(h.oldStart, h.oldCount)} +${side(h.newStart, h.newCount)} @@`;
}
