/** Text and numbers as SVG wants them: measured without a screen, and unable to break out of their place. Pure. */
import { printable } from "../diagnostics.ts";

/** Average advance of the fonts in `MONO` at 12 px; nothing here can draw, so text is measured by it. */
export const MONO_PX = 7.25;
export const MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, monospace";

/** How wide a text of the monospaced font is, at a font size in px; letters of East Asia count twice. Pure. */
export function monoWidth(text: string, sizePx = 12): number {
  const wide = text.match(
    /[\u1100-\u115f\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]/g,
  );
  return ([...text].length + (wide?.length ?? 0)) * MONO_PX * (sizePx / 12);
}

/** At most so many letters, the last one a `…` where some are missing. Pure. */
export function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

/** A tenth of a pixel is as exact as anybody sees. Pure. */
export function px(n: number): string {
  return String(Math.round(n * 10) / 10);
}

/** As content or attribute of an element; control characters, which XML 1.0 has no way to write, become visible. Pure. */
export function escapeXml(text: string): string {
  return printable(text)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
