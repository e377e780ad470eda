/** Figures of a comparison: medians over interleaved rounds, as a table for people and one JSON document. Pure but for printing. */

export interface Subject {
  readonly name: string;
  /** Milliseconds of one round. */
  readonly measure: () => Promise<number> | number;
  /** At most this many times the reference; undefined: only shown. */
  readonly target?: { readonly ratio?: number; readonly ms?: number };
  /** Runs in one round of so many. Undefined: in each. */
  readonly every?: number;
}

export interface Figure {
  readonly name: string;
  readonly medianMs: number;
  readonly minMs: number;
  readonly rounds: number;
  readonly ratio: number;
  readonly target?: string;
  readonly met?: boolean;
}

export function median(list: readonly number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Every round measures every subject once, in turn, so that all meet the same load. The first subject is the reference. */
export async function compareInTurn(subjects: readonly Subject[], rounds: number): Promise<Figure[]> {
  const times = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [subject, list] of times) {
      if (round % (subject.every ?? 1) === 0) list.push(await subject.measure());
    }
  }
  const reference = median(times.get(subjects[0] as Subject) ?? []);
  return subjects.map((subject) => figureOf(subject, times.get(subject) ?? [], reference));
}

function figureOf({ name, target }: Subject, list: readonly number[], reference: number): Figure {
  const medianMs = median(list);
  const ratio = medianMs / reference;
  const met =
    target &&
    (target.ratio === undefined || ratio <= target.ratio) &&
    (target.ms === undefined || medianMs <= target.ms);
  const said = [
    ...(target?.ratio === undefined ? [] : [`${target.ratio} ×`]),
    ...(target?.ms === undefined ? [] : [`${target.ms} ms`]),
  ].join(", ");
  return {
    name,
    medianMs: Math.round(medianMs * 10) / 10,
    minMs: Math.round(Math.min(...list) * 10) / 10,
    rounds: list.length,
    ratio: Math.round(ratio * 100) / 100,
    ...(target ? { target: said, met: met === true } : {}),
  };
}

/** One line a figure. */
export function figureLines(figures: readonly Figure[]): string[] {
  const width = Math.max(...figures.map((f) => f.name.length)) + 2;
  const head = `${"".padEnd(width)} median ms     min  ratio  rounds  target`;
  return [
    head,
    ...figures.map((f) => {
      const columns = [
        f.medianMs.toFixed(0).padStart(10),
        f.minMs.toFixed(0).padStart(8),
        f.ratio.toFixed(2).padStart(7),
        String(f.rounds).padStart(8),
      ].join("");
      const verdict = f.target === undefined ? "" : `  ${f.target} ${f.met ? "met" : "MISSED"}`;
      return `${f.name.padEnd(width)}${columns}${verdict}`;
    }),
  ];
}
