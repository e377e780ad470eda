/** A network graph in Graphviz' DOT language, undirected. Pure. */
import { quoteDot as quote } from "./dot.ts";
import type { NetworkGraph } from "./network-graph.ts";
import { laneLabel } from "./network-layout.ts";

/** Machines are boxes, wires ellipses, networks of machines rounded boxes; the mesh is one node, as each is joined with each. Pure. */
export function networkDot(graph: NetworkGraph, name: string): string {
  const out = [
    `graph ${quote(name)} {`,
    "  layout=neato; overlap=false; splines=true;",
    '  node [fontname="sans-serif", fontsize=10, shape=box];',
    '  edge [fontname="sans-serif", fontsize=8];',
  ];
  for (const s of graph.segments) {
    const { main, more } = laneLabel(s);
    out.push(
      `  ${quote(`wire:${s.id}`)} [label=${quote(more === "" ? main : `${main}\n${more}`)}, shape=ellipse, style=filled, fillcolor="#dbeafe"];`,
    );
  }
  if (graph.machines.some((m) => m.mesh))
    out.push(`  "mesh" [label="WireGuard", shape=ellipse, style=filled, fillcolor="#ede9fe"];`);
  for (const m of graph.machines) {
    const id = quote(`machine:${m.name}`);
    out.push(
      `  ${id} [label=${quote(m.prefix ? `${m.name}\n${m.prefix}` : m.name)}${m.isProbed ? "" : ", style=dashed"}];`,
    );
    for (const l of m.links)
      if (l.segment !== undefined)
        out.push(
          `  ${id} -- ${quote(`wire:${l.segment}`)} [label=${quote([l.name, ...l.addresses].join("\n"))}];`,
        );
    for (const n of m.networks) {
      const net = quote(`network:${m.name}/${n.name}`);
      const label = [n.name, n.ipv4, n.ipv6].filter((t) => t !== undefined).join("\n");
      out.push(
        `  ${net} [label=${quote(label)}, style="filled,rounded", fillcolor="#dcfce7"];`,
        `  ${id} -- ${net} [label=${quote(n.mode)}];`,
      );
      for (const g of n.guests) {
        const guest = quote(`guest:${m.name}/${g.name}`);
        out.push(`  ${guest} [label=${quote(g.name)}, shape=plaintext];`, `  ${net} -- ${guest};`);
      }
    }
    if (!m.mesh) continue;
    out.push(
      `  ${id} -- "mesh" [label=${quote(m.mesh.address ?? "")}${m.mesh.hasKey ? "" : ", style=dashed"}];`,
    );
    for (const c of m.mesh.clients) {
      const client = quote(`client:${m.name}/${c.name}`);
      out.push(`  ${client} [label=${quote(c.name)}, shape=plaintext];`, `  ${id} -- ${client};`);
    }
  }
  out.push("}");
  return `${out.join("\n")}\n`;
}
