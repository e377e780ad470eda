/**
 * A tree graph as an SVG of its own layout: layers left, files in the middle grouped by layer, units right, each beside
 * the files that reach it. Needs no Graphviz. Pure.
 */
import { layerLabel } from "./dot.ts";
import { clip, escapeXml, MONO, MONO_PX, px } from "./svg-text.ts";
import type { EdgeKind, TreeGraph } from "./tree-graph.ts";

const ROW = 20;
const GROUP_GAP = 14;
const TOP = 64;
const MARGIN = 24;
const LAYER_WIDTH = 150;
const COLUMN_GAP = 90;

const LAYER_COLOURS = [
  "#2563eb",
  "#d97706",
  "#7c3aed",
  "#0d9488",
  "#db2777",
  "#65a30d",
  "#dc2626",
  "#475569",
];

/** Colours by what a change of the file leads to. */
const PART = "#475569";
const PULLS = "#94a3b8";
const RELOADS = "#16a34a";
const RESTARTS = "#dc2626";

const EDGE_COLOUR: Readonly<Record<EdgeKind, string>> = {
  defines: PART,
  "pulls in": PULLS,
  "exec-later": PULLS,
  config: RELOADS,
  "reload-on": RELOADS,
  bind: RESTARTS,
  exec: RESTARTS,
  "environment-file": RESTARTS,
  credential: RESTARTS,
  root: RESTARTS,
  "restart-on": RESTARTS,
};
const LEGEND: readonly (readonly [string, string])[] = [
  [PART, "is a part of the unit"],
  [PULLS, "pulls the unit in, or runs when it stops"],
  [RELOADS, "read by the unit: a change reloads it"],
  [RESTARTS, "bound, run or loaded by the unit: a change restarts it"],
];

const LEGEND_PX = 6.8;
const LEGEND_WIDTH = LEGEND.reduce((w, [, text]) => w + 50 + text.length * LEGEND_PX, 80);

/** A whole SVG document. Pure. */
export function graphSvg(graph: TreeGraph): string {
  const fileX = MARGIN + LAYER_WIDTH + COLUMN_GAP;
  const fileWidth = Math.max(120, ...graph.files.map((f) => f.path.length * MONO_PX + (f.template ? 20 : 0)));
  const unitX = fileX + fileWidth + COLUMN_GAP + 30;
  const unitWidth = Math.max(140, ...graph.units.map((u) => u.length * MONO_PX + 24));
  const width = Math.max(unitX + unitWidth + MARGIN, LEGEND_WIDTH + 2 * MARGIN);

  const fileY = new Map<string, number>();
  const layerSpan = new Map<string, [number, number]>();
  let y = TOP;
  for (const layer of graph.layers) {
    const start = y;
    for (const file of graph.files) {
      if (file.layer !== layer) continue;
      fileY.set(file.path, y + ROW / 2);
      y += ROW;
    }
    layerSpan.set(layer, [start, y]);
    y += GROUP_GAP;
  }
  const unitY = placeUnits(graph, fileY);
  const height = Math.max(y, ...[...unitY.values()].map((v) => v + ROW)) + 34;

  const parts: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${px(width)}" height="${px(height)}" viewBox="0 0 ${px(width)} ${px(height)}" font-family="${MONO}" font-size="12">`,
    '<rect width="100%" height="100%" fill="#ffffff"/>',
    `<text x="${MARGIN}" y="30" font-size="17" font-weight="bold" fill="#0f172a">${escapeXml(graph.machine)}</text>`,
    heading(MARGIN, "layers"),
    heading(fileX, `files under /usr/local (${graph.files.length})`),
    heading(unitX, "units"),
  ];
  for (const edge of graph.edges) {
    const from = fileY.get(edge.file);
    const to = unitY.get(edge.unit);
    const file = graph.files.find((f) => f.path === edge.file);
    if (from === undefined || to === undefined || !file) continue;
    const x1 = fileX + edge.file.length * MONO_PX + (file.template ? 22 : 6);
    const colour = EDGE_COLOUR[edge.kind];
    const edgeX = fileX + fileWidth + 12;
    parts.push(lead(x1, from, edgeX, colour));
    parts.push(curve(edgeX, from, unitX, to, colour, 1.3, `${edge.file} → ${edge.unit}: ${edge.kind}`));
  }
  for (const [i, layer] of graph.layers.entries()) {
    const [start, end] = layerSpan.get(layer) ?? [0, 0];
    const colour = LAYER_COLOURS[i % LAYER_COLOURS.length] ?? "#475569";
    const middle = (start + end) / 2;
    parts.push(
      `<rect x="${MARGIN}" y="${px(middle - 15)}" width="${LAYER_WIDTH}" height="30" rx="4" fill="${colour}"/>`,
    );
    parts.push(
      `<text x="${px(MARGIN + LAYER_WIDTH / 2)}" y="${px(middle + 4)}" text-anchor="middle" fill="#ffffff" font-weight="bold">${escapeXml(clip(layerLabel(graph, layer), 19))}</text>`,
    );
    parts.push(
      `<rect x="${px(fileX - 12)}" y="${px(start)}" width="3" height="${px(end - start)}" fill="${colour}"/>`,
    );
    parts.push(curve(MARGIN + LAYER_WIDTH, middle, fileX - 12, middle, colour, 2));
  }
  for (const file of graph.files) {
    const at = fileY.get(file.path) ?? 0;
    const style = file.link ? ' font-style="italic" fill="#64748b"' : ' fill="#0f172a"';
    const mark = file.template ? '<tspan fill="#d97706"> ◆</tspan>' : "";
    parts.push(
      `<text x="${px(fileX)}" y="${px(at + 4)}"${style} xml:space="preserve">${escapeXml(file.path)}${mark}</text>`,
    );
  }
  for (const unit of graph.units) {
    const at = unitY.get(unit) ?? 0;
    parts.push(
      `<rect x="${px(unitX)}" y="${px(at - 12)}" width="${px(unitWidth)}" height="24" rx="12" fill="#f0fdf4" stroke="#16a34a"/>`,
    );
    parts.push(`<text x="${px(unitX + 12)}" y="${px(at + 4)}" fill="#14532d">${escapeXml(unit)}</text>`);
  }
  parts.push(legend(height - 14));
  parts.push("</svg>");
  return `${parts.join("\n")}\n`;
}

/** Each unit at the mean height of its files, pushed down where two would overlap. */
function placeUnits(graph: TreeGraph, fileY: ReadonlyMap<string, number>): Map<string, number> {
  const wish = graph.units.map((unit) => {
    const heights = graph.edges.filter((e) => e.unit === unit).map((e) => fileY.get(e.file) ?? 0);
    return { unit, y: heights.reduce((a, b) => a + b, 0) / Math.max(1, heights.length) };
  });
  wish.sort((a, b) => a.y - b.y);
  const out = new Map<string, number>();
  let last = TOP - ROW;
  for (const { unit, y } of wish) {
    last = Math.max(y, last + 32);
    out.set(unit, last);
  }
  return out;
}

/** A file's line runs beside its own row to the column's edge first: across rows it would strike texts out. */
function lead(x: number, y: number, edge: number, colour: string): string {
  return `<path d="M${px(x)},${px(y)} H${px(edge)}" stroke="${colour}" stroke-width="1.3" stroke-opacity="0.6" stroke-dasharray="1 4"/>`;
}

function curve(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  colour: string,
  width: number,
  title = "",
): string {
  const bend = (x2 - x1) / 2;
  const path = `M${px(x1)},${px(y1)} C${px(x1 + bend)},${px(y1)} ${px(x2 - bend)},${px(y2)} ${px(x2)},${px(y2)}`;
  return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-opacity="0.75">${title === "" ? "" : `<title>${escapeXml(title)}</title>`}</path>`;
}

function heading(x: number, text: string): string {
  return `<text x="${px(x)}" y="52" fill="#64748b" font-size="11">${escapeXml(text)}</text>`;
}

function legend(y: number): string {
  let x = MARGIN;
  const out: string[] = [];
  for (const [colour, text] of LEGEND) {
    out.push(`<path d="M${px(x)},${px(y - 4)} h22" stroke="${colour}" stroke-width="2"/>`);
    out.push(`<text x="${px(x + 28)}" y="${px(y)}" font-size="11" fill="#475569">${escapeXml(text)}</text>`);
    x += 50 + text.length * LEGEND_PX;
  }
  out.push(
    `<text x="${px(x)}" y="${px(y)}" font-size="11" fill="#475569"><tspan fill="#d97706">◆</tspan> template</text>`,
  );
  return out.join("\n");
}
