/** A line of a table of guests' starts. Must not know what was timed. */
import { median } from "./figures.ts";

/** Median, least, and the median's ratio to `base`, all in milliseconds. */
export function printRow(name: string, list: readonly number[], base: number): void {
  const column = (ms: number): string => `${ms.toFixed(0).padStart(6)} ms`;
  const middle = median(list);
  console.log(
    `${name.padEnd(58)} ${column(middle)}  ${column(Math.min(...list))}  ${(middle / base).toFixed(2)}`,
  );
}
