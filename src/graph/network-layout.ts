/**
 * Where everything of a network's picture stands: machines as cards one below another, wires as lanes at their left, like
 * the branches of a commit graph, the WireGuard mesh as one lane at their right. Pure; must not know colours or SVG.
 */
import { type CardColumn, type CardText, cardColumns, headerWidth } from "./network-card.ts";
import type { MachineNode, NetworkGraph } from "./network-graph.ts";
import type { Segment } from "./segments.ts";
import { monoWidth } from "./svg-text.ts";

/** All lengths are px. */
export const ROW = 18;
export const HEADER = 34;
export const PADDING = 14;
const MARGIN = 28;
const LANE = 22;
const CARD_GAP = 14;
const LABEL = 34;
const COLUMN_GAP = 30;
const TOP = 84;
const MESH_LABEL = 26;
const FOOT = 52;
const MIN_CARD = 360;

export interface Lane {
  readonly segment: Segment;
  /** Counts all lanes, for their colours. */
  readonly number: number;
  readonly x: number;
  readonly top: number;
  readonly bottom: number;
  /** Where each of its links leaves it, from top to bottom. */
  readonly taps: readonly { readonly y: number; readonly isRouter: boolean; readonly title: string }[];
}

export interface PlacedCard {
  readonly machine: MachineNode;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** Relative to the picture. */
  readonly texts: readonly (CardText & { readonly x: number; readonly y: number })[];
  /** Left edges of networks, from top to bottom. */
  readonly bars: readonly { readonly x: number; readonly top: number; readonly bottom: number }[];
}

export interface MeshLane {
  readonly x: number;
  readonly top: number;
  readonly bottom: number;
  readonly taps: readonly {
    readonly y: number;
    readonly kind: "called" | "calls" | "no-key";
    readonly title: string;
  }[];
}

export interface NetworkLayout {
  readonly width: number;
  readonly height: number;
  readonly lanes: readonly Lane[];
  readonly cards: readonly PlacedCard[];
  /** Headings of those that are on no wire. */
  readonly headings: readonly { readonly y: number; readonly text: string }[];
  readonly mesh?: MeshLane;
  readonly cardX: number;
}

/** Pure. */
export function layoutNetwork(graph: NetworkGraph): NetworkLayout {
  const order = orderMachines(graph);
  const slots = laneSlots(graph.segments, order);
  const gutter = Math.max(0, ...[...slots.values()].map((s) => s + 1)) * LANE;
  const cardX = MARGIN + gutter + (gutter > 0 ? 14 : 0);
  const columns = new Map(order.map((m) => [m.name, cardColumns(m)]));
  const widths = columnWidths([...columns.values()]);
  const inside = widths.filter((w) => w > 0);
  const cardWidth = Math.max(
    MIN_CARD,
    inside.reduce((sum, w) => sum + w, 0) + COLUMN_GAP * Math.max(0, inside.length - 1) + 2 * PADDING,
    ...order.map((m) => headerWidth(m) + 2 * PADDING),
    ...graph.segments.map((s) => labelWidth(s)),
  );
  const hasMesh = order.some((m) => m.mesh);
  let y = TOP + (hasMesh ? MESH_LABEL : 0);
  const cards: PlacedCard[] = [];
  const headings: { y: number; text: string }[] = [];
  const tops = new Map<string, number>();
  const taps = new Map<string, Lane["taps"][number][]>();
  const meshTaps: MeshLane["taps"][number][] = [];
  for (const [i, machine] of order.entries()) {
    const starting = graph.segments
      .filter((s) => !tops.has(s.id) && s.members.some((m) => m.machine === machine.name))
      .sort((a, b) => (slots.get(b.id) ?? 0) - (slots.get(a.id) ?? 0));
    for (const segment of starting) {
      tops.set(segment.id, y + LABEL / 2);
      y += LABEL - 8;
    }
    const heading = headingBefore(machine, order[i - 1]);
    if (heading !== undefined && graph.segments.length > 0) {
      headings.push({ y: y + LABEL / 2, text: heading });
      y += LABEL - 8;
    }
    if (starting.length > 0 || (heading !== undefined && graph.segments.length > 0)) y += 8;
    const card = placeCard(machine, columns.get(machine.name) ?? [], widths, cardX, y, cardWidth);
    cards.push(card.placed);
    for (const link of machine.links) {
      const at = card.linkY.get(link.name);
      if (link.segment === undefined || at === undefined) continue;
      const segment = graph.segments.find((s) => s.id === link.segment);
      const list = taps.get(link.segment) ?? [];
      const isRouter = link.addresses.some((a) => a.split("/")[0] === segment?.gateway);
      list.push({ y: at, isRouter, title: `${machine.name} ${link.name}: ${link.addresses.join(" ")}` });
      taps.set(link.segment, list);
    }
    if (machine.mesh && card.meshY !== undefined) {
      const { hasKey, endpoint } = machine.mesh;
      meshTaps.push({
        y: card.meshY,
        kind: !hasKey ? "no-key" : endpoint === undefined ? "calls" : "called",
        title: `${machine.name}: ${!hasKey ? "its key is not known yet" : (endpoint ?? "can't be called, calls the others")}`,
      });
    }
    y += card.placed.height + CARD_GAP;
  }
  const lanes = graph.segments.flatMap((segment, number): Lane[] => {
    const own = taps.get(segment.id) ?? [];
    const top = tops.get(segment.id);
    if (top === undefined) return [];
    const x = MARGIN + gutter - LANE * ((slots.get(segment.id) ?? 0) + 0.5);
    return [{ segment, number, x, top, bottom: own.at(-1)?.y ?? top, taps: own }];
  });
  const meshX = cardX + cardWidth + 26;
  const last = meshTaps.at(-1);
  return {
    width: (hasMesh ? meshX + 10 : cardX + cardWidth) + MARGIN,
    height: y + FOOT,
    lanes,
    cards,
    headings,
    cardX,
    ...(last ? { mesh: { x: meshX, top: TOP, bottom: last.y, taps: meshTaps } } : {}),
  };
}

/** What stands beside a lane's beginning. Pure. */
export function laneLabel(s: Segment): { readonly main: string; readonly more: string } {
  const [main = "", ...others] = s.prefixes;
  const copy = s.id.slice(main.length);
  const out =
    s.gateway === undefined
      ? []
      : [
          s.gatewayMachine === undefined
            ? `way out ${s.gateway}`
            : `way out ${s.gatewayMachine}, ${s.gateway}`,
        ];
  return { main: `${main}${copy}`, more: [...others, ...out].join(" · ") };
}

function labelWidth(s: Segment): number {
  const { main, more } = laneLabel(s);
  return monoWidth(main, 13) + 16 + monoWidth(more, 11);
}

/** Machines of one wire stand together, whoever is their way out first; those on none come last. */
function orderMachines({ machines, segments }: NetworkGraph): MachineNode[] {
  const position = new Map(segments.map((s, i) => [s.id, i]));
  const sizes = new Map(segments.map((s) => [s.id, s.members.length]));
  // A router stands where it serves others, not where its own way out is.
  const served = new Map(
    segments.flatMap((s, i) => (s.gatewayMachine === undefined ? [] : [[s.gatewayMachine, i] as const])),
  );
  const main = (m: MachineNode): number => {
    const found = m.links
      .flatMap((l) => (l.segment === undefined ? [] : [l.segment]))
      .sort((a, b) => (sizes.get(b) ?? 0) - (sizes.get(a) ?? 0))[0];
    const on = found === undefined ? segments.length : (position.get(found) ?? segments.length);
    return m.isProbed || found !== undefined ? on : segments.length + 1;
  };
  const rank = new Map(machines.map((m) => [m.name, served.get(m.name) ?? main(m)]));
  return [...machines].sort(
    (a, b) =>
      (rank.get(a.name) ?? 0) - (rank.get(b.name) ?? 0) ||
      Number(served.has(b.name)) - Number(served.has(a.name)),
  );
}

/** The nearest free slot for each lane, 0 beside the cards; one that goes on for longer stands farther out. */
function laneSlots(segments: readonly Segment[], order: readonly MachineNode[]): Map<string, number> {
  const row = new Map(order.map((m, i) => [m.name, i]));
  const spans = segments.map((s) => {
    const rows = s.members.map((m) => row.get(m.machine) ?? 0);
    return { id: s.id, from: Math.min(...rows), to: Math.max(...rows) };
  });
  spans.sort((a, b) => a.to - a.from - (b.to - b.from) || a.from - b.from);
  const out = new Map<string, number>();
  for (const span of spans) {
    let slot = 0;
    const isTaken = (n: number): boolean =>
      spans.some((o) => out.get(o.id) === n && o.from <= span.to && span.from <= o.to);
    while (isTaken(slot)) slot++;
    out.set(span.id, slot);
  }
  return out;
}

function headingBefore(machine: MachineNode, before: MachineNode | undefined): string | undefined {
  const kind = (m: MachineNode) => (m.links.some((l) => l.segment !== undefined) ? 0 : m.isProbed ? 1 : 2);
  if (kind(machine) === 0 || (before && kind(before) === kind(machine))) return undefined;
  return kind(machine) === 1 ? "on no wire that is known" : "not probed yet";
}

function columnWidths(all: readonly (readonly CardColumn[])[]): number[] {
  const count = Math.max(0, ...all.map((c) => c.length));
  return Array.from({ length: count }, (_, i) => Math.max(0, ...all.map((c) => c[i]?.width ?? 0)));
}

function placeCard(
  machine: MachineNode,
  columns: readonly CardColumn[],
  widths: readonly number[],
  cardX: number,
  y: number,
  width: number,
) {
  const texts: PlacedCard["texts"][number][] = [];
  const bars: PlacedCard["bars"][number][] = [];
  const linkY = new Map<string, number>();
  let meshY: number | undefined;
  let x = cardX + PADDING;
  let rows = 0;
  for (const [i, column] of columns.entries()) {
    for (const [n, row] of column.rows.entries()) {
      const at = y + HEADER + (n + 0.5) * ROW;
      for (const text of row.texts) texts.push({ ...text, x: x + text.dx, y: at });
      if (row.link !== undefined) linkY.set(row.link, at);
      if (row.isMesh) meshY = at;
      if (row.startsBar)
        bars.push({ x, top: at - ROW / 2 + 2, bottom: at + ROW * (row.startsBar - 0.5) - 2 });
    }
    rows = Math.max(rows, column.rows.length);
    const own = widths[i] ?? 0;
    x += own + (own > 0 ? COLUMN_GAP : 0);
  }
  const height = HEADER + rows * ROW + (rows > 0 ? PADDING - 4 : 0);
  return { placed: { machine, x: cardX, y, width, height, texts, bars }, linkY, meshY };
}
