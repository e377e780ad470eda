/**
 * Machines in waves: how sizes are written on a command line, and which machine goes in which wave. Must not know what
 * a wave does. Pure.
 */

export type WaveSize =
  | { readonly kind: "count"; readonly machines: number }
  /** Of all machines, rounded down, at least one. */
  | { readonly kind: "percent"; readonly percent: number }
  | { readonly kind: "rest" };

/** `3`, `1,5,rest`, `1,20%`: at least one size. Undefined: it is none of these. Pure. */
export function parseWaves(text: string): readonly WaveSize[] | undefined {
  const sizes: WaveSize[] = [];
  for (const word of text.split(",").map((w) => w.trim())) {
    const [, digits, percent] = /^([1-9]\d{0,5})(%?)$/.exec(word) ?? [];
    if (word === "rest") sizes.push({ kind: "rest" });
    else if (digits === undefined || (percent === "%" && Number(digits) > 100)) return undefined;
    else if (percent === "%") sizes.push({ kind: "percent", percent: Number(digits) });
    else sizes.push({ kind: "count", machines: Number(digits) });
  }
  // What follows `rest` would never have a machine.
  return sizes.slice(0, -1).some((s) => s.kind === "rest") ? undefined : sizes;
}

/** The items in their order, cut into waves; the last size counts for all waves that follow. No wave is empty. Pure. */
export function splitWaves<T>(items: readonly T[], sizes: readonly WaveSize[]): readonly (readonly T[])[] {
  const waves: (readonly T[])[] = [];
  for (let at = 0; at < items.length; ) {
    const wave = items.slice(
      at,
      at + machinesIn(sizes[Math.min(waves.length, sizes.length - 1)], items.length),
    );
    waves.push(wave);
    at += wave.length;
  }
  return waves;
}

function machinesIn(size: WaveSize | undefined, total: number): number {
  if (size === undefined || size.kind === "rest") return total;
  return size.kind === "count" ? size.machines : Math.max(1, Math.floor((total * size.percent) / 100));
}
