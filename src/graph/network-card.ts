/** What stands on one machine's card, as columns of rows of text: its links, its networks, its part in the mesh. Pure. */
import type { MachineNode, MeshNode, NetworkNode } from "./network-graph.ts";
import { monoWidth } from "./svg-text.ts";

/** How a text looks; the drawing gives each a colour for light and for dark. */
export type TextStyle = "text" | "strong" | "muted" | "network" | "mesh" | "badge" | "warn";

export interface CardText {
  readonly text: string;
  readonly style: TextStyle;
  /** From the column's left edge, px. */
  readonly dx: number;
  /** px. */
  readonly size: number;
}

export interface CardRow {
  readonly texts: readonly CardText[];
  /** Name of the link whose wire arrives at this row. */
  readonly link?: string;
  /** The mesh arrives at this row. */
  readonly isMesh?: boolean;
  /** A network begins here and takes so many rows. */
  readonly startsBar?: number;
}

export interface CardColumn {
  readonly rows: readonly CardRow[];
  readonly width: number;
}

const SIZE = 12;
const SMALL = 11;
/** Room for a network's bar. */
const INDENT = 12;
const GUESTS_SHOWN = 12;
const CLIENTS_SHOWN = 12;
/** Tags beyond so many letters would push everything else out of sight. */
const TAG_LETTERS = 24;
const TAGS_SHOWN = 6;

/** Always three, in this order; empty ones have width 0. Pure. */
export function cardColumns(m: MachineNode): CardColumn[] {
  return [
    columnOf(linkRows(m)),
    columnOf(m.networks.flatMap((n) => networkRows(n, m.isProbed))),
    columnOf(m.mesh ? meshRows(m.mesh) : []),
  ];
}

export interface HeaderPart {
  readonly text: string;
  readonly style: "name" | "muted" | "tag";
  readonly dx: number;
  readonly width: number;
}

/** Name, where it is reached, tags, its IPv6 prefix. Pure. */
export function headerParts(m: MachineNode): HeaderPart[] {
  const tags = m.tags
    .slice(0, TAGS_SHOWN)
    .map((t) => (t.length > TAG_LETTERS ? `${t.slice(0, TAG_LETTERS - 1)}…` : t));
  if (m.tags.length > TAGS_SHOWN) tags.push(`+${m.tags.length - TAGS_SHOWN}`);
  const parts: readonly (readonly [string, HeaderPart["style"], number])[] = [
    [m.name, "name", 14.5],
    ...(m.host === m.name ? [] : [[m.host, "muted", SMALL] as const]),
    ...(m.prefix === undefined ? [] : [[m.prefix, "muted", SMALL] as const]),
    ...tags.map((t) => [t, "tag", 10] as const),
  ];
  let dx = 0;
  return parts.map(([text, style, size]) => {
    const width = monoWidth(text, size) + (style === "tag" ? 12 : 0);
    const part = { text, style, dx, width };
    dx += width + (style === "tag" ? 6 : 16);
    return part;
  });
}

/** px. Pure. */
export function headerWidth(m: MachineNode): number {
  const last = headerParts(m).at(-1);
  return last ? last.dx + last.width : 0;
}

function linkRows(m: MachineNode): CardRow[] {
  if (!m.isProbed && m.links.length === 0)
    return [{ texts: [text(`never probed: labctl facts probe ${m.name}`, "warn", 0, SMALL)] }];
  const silent = m.links.filter((l) => l.addresses.length === 0);
  const shown = m.links.filter((l) => l.addresses.length > 0);
  const names = Math.max(0, ...shown.map((l) => monoWidth(l.name)));
  const rows = shown.flatMap((l): CardRow[] =>
    l.addresses.map((address, i) => ({
      texts: [
        ...(i === 0 ? [text(l.name, l.kind === "network" ? "network" : "strong")] : []),
        text(address, i === 0 ? "text" : "muted", names + 12, i === 0 ? SIZE : SMALL),
      ],
      ...(i === 0 ? { link: l.name } : {}),
    })),
  );
  // One row however many there are: what has no address says little.
  if (silent.length > 0) {
    const few = silent.slice(0, 4).map((l) => l.name);
    const more = silent.length > few.length ? ` and ${silent.length - few.length} more` : "";
    rows.push({ texts: [text(`${few.join(", ")}${more}: no address`, "muted", 0, SMALL)] });
  }
  return rows;
}

function networkRows(n: NetworkNode, isProbed: boolean): CardRow[] {
  const mode = n.uplink === undefined ? n.mode : `${n.mode} on ${n.uplink}`;
  const name = monoWidth(n.name);
  const prefix = INDENT + name + 10;
  const state = n.isAllocated ? n.ipv4 : "no addresses yet: labctl ip plan --write";
  const stateText = state === undefined ? [] : [text(state, n.isAllocated ? "text" : "warn", prefix)];
  const badgeAt = prefix + (state === undefined ? 0 : monoWidth(state) + 10);
  const lines: CardText[][] = [
    [text(n.name, "network", INDENT), ...stateText, text(mode, "badge", badgeAt, 10)],
    ...(n.ipv6 === undefined ? [] : [[text(n.ipv6, "muted", INDENT, SMALL)]]),
    ...(n.names === undefined ? [] : [[text(n.names, "muted", INDENT, SMALL)]]),
  ];
  const shown = n.guests.slice(0, GUESTS_SHOWN);
  for (const g of shown) {
    const mark = g.kind === "vm" ? "▣" : "□";
    const label = `${mark} ${g.name}`;
    lines.push([
      text(label, "text", INDENT + 4, SMALL),
      ...(g.ipv6 === undefined || !isProbed
        ? []
        : [text(g.ipv6, "muted", INDENT + 16 + monoWidth(label, SMALL), SMALL)]),
    ]);
  }
  if (n.guests.length > shown.length)
    lines.push([text(`and ${n.guests.length - shown.length} more guests`, "muted", INDENT + 4, SMALL)]);
  return lines.map((texts, i) => ({ texts, ...(i === 0 ? { startsBar: lines.length } : {}) }));
}

function meshRows(mesh: MeshNode): CardRow[] {
  const way = !mesh.hasKey
    ? text("no key yet: push, then probe", "warn", 0, SMALL)
    : text(
        mesh.endpoint === undefined ? "calls the others" : `called at ${mesh.endpoint}`,
        "muted",
        0,
        SMALL,
      );
  const shown = mesh.clients.slice(0, CLIENTS_SHOWN);
  const rest = mesh.clients.length - shown.length;
  return [
    {
      texts: [
        text("wg0", "mesh"),
        ...(mesh.address === undefined ? [] : [text(mesh.address, "text", monoWidth("wg0") + 12)]),
      ],
      isMesh: true,
    },
    { texts: [way] },
    ...mesh.routes.map((r) => ({ texts: [text(`leads to ${r}`, "muted", 0, SMALL)] })),
    ...shown.map((c) => ({
      texts: [
        text(`○ ${c.name}`, "mesh", 4, SMALL),
        ...(c.address === undefined
          ? []
          : [text(c.address, "muted", 16 + monoWidth(`○ ${c.name}`, SMALL), SMALL)]),
      ],
    })),
    ...(rest > 0 ? [{ texts: [text(`and ${rest} more devices`, "muted", 4, SMALL)] }] : []),
  ];
}

function text(content: string, style: TextStyle, dx = 0, size = SIZE): CardText {
  return { text: content, style, dx, size };
}

function columnOf(rows: readonly CardRow[]): CardColumn {
  const ends = rows.flatMap((r) =>
    r.texts.map((t) => t.dx + monoWidth(t.text, t.size) + (t.style === "badge" ? 12 : 0)),
  );
  return { rows, width: Math.max(0, ...ends) };
}
