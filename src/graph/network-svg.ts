/** A network's picture as an SVG document, which follows its viewer into the dark. Pure; where things stand is laid out before. */
import { headerParts, type TextStyle } from "./network-card.ts";
import type { NetworkGraph } from "./network-graph.ts";
import {
  HEADER,
  type Lane,
  laneLabel,
  layoutNetwork,
  type MeshLane,
  PADDING,
  type PlacedCard,
} from "./network-layout.ts";
import { escapeXml, MONO, monoWidth, px } from "./svg-text.ts";

/** Colours of lanes, in light and in dark. */
const LANES: readonly (readonly [string, string])[] = [
  ["#2563eb", "#60a5fa"],
  ["#d97706", "#fbbf24"],
  ["#0d9488", "#2dd4bf"],
  ["#db2777", "#f472b6"],
  ["#65a30d", "#a3e635"],
  ["#0284c7", "#38bdf8"],
  ["#b45309", "#fdba74"],
  ["#64748b", "#cbd5e1"],
];

/** Class, property, light, dark. */
const COLOURS: readonly (readonly [string, "fill" | "stroke", string, string])[] = [
  ["page", "fill", "#ffffff", "#0b1120"],
  ["card", "fill", "#f8fafc", "#141d31"],
  ["card", "stroke", "#cbd5e1", "#334155"],
  ["rule", "stroke", "#e2e8f0", "#25314a"],
  ["halo", "stroke", "#ffffff", "#0b1120"],
  ["text", "fill", "#0f172a", "#e2e8f0"],
  ["strong", "fill", "#0f172a", "#f8fafc"],
  ["muted", "fill", "#64748b", "#94a3b8"],
  ["warn", "fill", "#b45309", "#fbbf24"],
  ["network", "fill", "#15803d", "#4ade80"],
  ["mesh", "fill", "#7c3aed", "#a78bfa"],
  ["mesh-line", "stroke", "#7c3aed", "#a78bfa"],
  ["badge", "fill", "#166534", "#bbf7d0"],
  ["badge-back", "fill", "#dcfce7", "#14432a"],
  ["tag", "fill", "#475569", "#cbd5e1"],
  ["tag-back", "fill", "#e2e8f0", "#25314a"],
  ...LANES.flatMap(([light, dark], i) => [
    [`lane${i}`, "stroke", light, dark] as const,
    [`dot${i}`, "fill", light, dark] as const,
  ]),
];

/** `name` is the repository's. A whole document. Pure. */
export function networkSvg(graph: NetworkGraph, name: string): string {
  const layout = layoutNetwork(graph);
  const legend = legendOf(graph, layout.height - 16);
  const summary = summaryOf(graph);
  const width = Math.max(layout.width, monoWidth(summary) + 80, monoWidth(name, 19) + 80, legend.width + 60);
  const size = `width="${px(width)}" height="${px(layout.height)}" viewBox="0 0 ${px(width)} ${px(layout.height)}"`;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="${MONO}" font-size="12" role="img">`,
    `<title>${escapeXml(name)}: ${escapeXml(summary)}</title>`,
    styles(),
    '<rect width="100%" height="100%" class="page"/>',
    `<text x="28" y="40" font-size="19" font-weight="bold" class="strong">${escapeXml(name)}</text>`,
    `<text x="28" y="61" class="muted">${escapeXml(summary)}</text>`,
    ...layout.lanes.map((l) => lane(l, layout.cardX)),
    ...layout.headings.map(
      (h) =>
        `<text x="${px(layout.cardX)}" y="${px(h.y + 4)}" font-weight="bold" class="muted">${h.text}</text>`,
    ),
    ...layout.cards.map(card),
    ...(layout.mesh ? [mesh(layout.mesh, graph)] : []),
    ...legend.parts,
    "</svg>",
  ].join("\n")}\n`;
}

function styles(): string {
  const rules = (which: 2 | 3): string => COLOURS.map((c) => `.${c[0]}{${c[1]}:${c[which]}}`).join("");
  return `<style>${rules(2)}@media (prefers-color-scheme:dark){${rules(3)}}</style>`;
}

function lane({ segment, number, x, top, bottom, taps }: Lane, cardX: number): string {
  const n = number % LANES.length;
  const { main, more } = laneLabel(segment);
  const line = (d: string, width: number, extra = ""): string =>
    `<path d="${d}" fill="none" class="lane${n}" stroke-width="${width}"${extra}/>`;
  const halo = (d: string): string => `<path d="${d}" fill="none" class="halo" stroke-width="7"/>`;
  const stem = `M${px(x)},${px(top)} V${px(bottom)}`;
  const label = `M${px(x)},${px(top)} H${px(cardX - 8)}`;
  return [
    `<g><title>${escapeXml([main, more].filter(Boolean).join(" · "))}</title>`,
    halo(label),
    line(label, 1.2, ' stroke-dasharray="1 4" stroke-linecap="round"'),
    line(stem, 3, ' stroke-linecap="round"'),
    `<circle cx="${px(x)}" cy="${px(top)}" r="6" class="dot${n}"/>`,
    `<text x="${px(cardX)}" y="${px(top + 4)}"><tspan font-size="13" font-weight="bold" class="dot${n}">${escapeXml(main)}</tspan><tspan dx="14" font-size="11" class="muted">${escapeXml(more)}</tspan></text>`,
    "</g>",
    ...taps.flatMap(({ y, isRouter, title }) => {
      const way = `M${px(x)},${px(y)} H${px(cardX)}`;
      const ring = isRouter
        ? `<circle cx="${px(x)}" cy="${px(y)}" r="8.5" fill="none" class="lane${n}" stroke-width="1.6"/>`
        : "";
      return [
        `<g><title>${escapeXml(title)}</title>${line(way, 1.8)}`,
        `<circle cx="${px(x)}" cy="${px(y)}" r="4.5" class="dot${n}"/>${ring}</g>`,
      ];
    }),
  ].join("\n");
}

function card({ machine, x, y, width, height, texts, bars }: PlacedCard): string {
  const dash = machine.isProbed ? "" : ' stroke-dasharray="5 4"';
  const head = y + 22;
  return [
    `<rect x="${px(x)}" y="${px(y)}" width="${px(width)}" height="${px(height)}" rx="7" class="card"${dash}/>`,
    `<path d="M${px(x + 1)},${px(y + HEADER - 4)} H${px(x + width - 1)}" class="rule"/>`,
    ...headerParts(machine).flatMap((p) => {
      const at = x + PADDING + p.dx;
      if (p.style === "name")
        return `<text x="${px(at)}" y="${px(head)}" font-size="14.5" font-weight="bold" class="strong">${escapeXml(p.text)}</text>`;
      if (p.style === "muted")
        return `<text x="${px(at)}" y="${px(head)}" font-size="11" class="muted">${escapeXml(p.text)}</text>`;
      return chip(at, head - 4, p.text, p.width, "tag");
    }),
    ...bars.map(
      (b) =>
        `<rect x="${px(b.x)}" y="${px(b.top)}" width="4" height="${px(b.bottom - b.top)}" rx="2" class="network"/>`,
    ),
    ...texts.map((t) =>
      t.style === "badge"
        ? chip(t.x, t.y, t.text, monoWidth(t.text, t.size) + 12, "badge")
        : `<text x="${px(t.x)}" y="${px(t.y + 4)}"${t.size === 12 ? "" : ` font-size="${t.size}"`}${BOLD.has(t.style) ? ' font-weight="bold"' : ""} class="${t.style}">${escapeXml(t.text)}</text>`,
    ),
  ].join("\n");
}

const BOLD: ReadonlySet<TextStyle> = new Set<TextStyle>(["strong", "network", "mesh"]);

function chip(x: number, middle: number, text: string, width: number, style: "tag" | "badge"): string {
  return [
    `<rect x="${px(x)}" y="${px(middle - 7.5)}" width="${px(width)}" height="15" rx="7.5" class="${style}-back"/>`,
    `<text x="${px(x + 6)}" y="${px(middle + 3.5)}" font-size="10" class="${style}">${escapeXml(text)}</text>`,
  ].join("");
}

function mesh({ x, top, bottom, taps }: MeshLane, graph: NetworkGraph): string {
  const count = graph.machines.filter((m) => m.mesh?.hasKey).length;
  const label = `WireGuard: ${plural(count, "machine")}`;
  return [
    `<path d="M${px(x)},${px(top)} V${px(bottom)}" fill="none" class="mesh-line" stroke-width="3" stroke-dasharray="8 4"/>`,
    `<circle cx="${px(x)}" cy="${px(top)}" r="6" class="mesh"/>`,
    `<text x="${px(x - 14)}" y="${px(top + 4)}" font-size="13" font-weight="bold" text-anchor="end" class="mesh">${label}</text>`,
    ...taps.map(({ y, kind, title }) => {
      const dash = kind === "no-key" ? ' stroke-dasharray="2 4"' : "";
      const dot =
        kind === "called"
          ? `<circle cx="${px(x)}" cy="${px(y)}" r="5" class="mesh"/>`
          : `<circle cx="${px(x)}" cy="${px(y)}" r="5" class="page"/><circle cx="${px(x)}" cy="${px(y)}" r="5" fill="none" class="mesh-line" stroke-width="2"${dash}/>`;
      return `<g><title>${escapeXml(title)}</title><path d="M${px(x - 26)},${px(y)} H${px(x)}" class="mesh-line" stroke-width="1.8"${dash}/>${dot}</g>`;
    }),
  ].join("\n");
}

/** Only what the picture has. */
function legendOf(graph: NetworkGraph, y: number): { readonly parts: string[]; readonly width: number } {
  const { machines, segments, reserved } = graph;
  const dot = (x: number, inner: string): string => inner.replaceAll("@", px(x + 8));
  const c = `cx="@" cy="${px(y - 4)}"`;
  const rows: (readonly [boolean, string, string])[] = [
    [
      segments.some((s) => s.gatewayMachine !== undefined),
      `<circle ${c} r="4" class="dot0"/><circle ${c} r="7" fill="none" class="lane0" stroke-width="1.6"/>`,
      "the way out of a wire",
    ],
    [machines.some((m) => m.networks.some((n) => n.guests.length > 0)), "", "□ container, ▣ virtual machine"],
    [
      machines.some((m) => m.mesh?.hasKey && m.mesh.endpoint === undefined),
      `<circle ${c} r="5" fill="none" class="mesh-line" stroke-width="2"/>`,
      "can't be called, calls the others",
    ],
    [machines.some((m) => (m.mesh?.clients.length ?? 0) > 0), "", "○ device on the road"],
    [reserved.length > 0, "", `reserved: ${reservedText(reserved)}`],
  ];
  const parts: string[] = [];
  let x = 28;
  for (const [isShown, mark, words] of rows) {
    if (!isShown) continue;
    const offset = mark === "" ? 0 : 24;
    parts.push(
      `${dot(x, mark)}<text x="${px(x + offset)}" y="${px(y)}" font-size="11" class="muted">${escapeXml(words)}</text>`,
    );
    x += offset + monoWidth(words, 11) + 28;
  }
  return { parts, width: x - 28 };
}

const RESERVED_SHOWN = 4;

function reservedText(reserved: NetworkGraph["reserved"]): string {
  const shown = reserved.slice(0, RESERVED_SHOWN).map((r) => `${r.prefix} ${r.name}`);
  const rest = reserved.length - shown.length;
  return [...shown, ...(rest > 0 ? [`and ${rest} more`] : [])].join(", ");
}

function summaryOf({ machines, segments }: NetworkGraph): string {
  const networks = machines.reduce((sum, m) => sum + m.networks.length, 0);
  const guests = machines.reduce((sum, m) => sum + m.networks.reduce((n, w) => n + w.guests.length, 0), 0);
  const unprobed = machines.filter((m) => !m.isProbed).length;
  return [
    plural(machines.length, "machine"),
    ...(segments.length > 0 ? [plural(segments.length, "wire")] : []),
    ...(networks > 0 ? [plural(networks, "network")] : []),
    ...(guests > 0 ? [plural(guests, "guest")] : []),
    ...(unprobed > 0 ? [`${unprobed} not probed yet`] : []),
  ].join(", ");
}

function plural(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}
