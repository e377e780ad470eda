/** A tree graph in Graphviz' DOT language. Pure. */
import type { TreeGraph } from "./tree-graph.ts";

/** One digraph, left to right; layers and units are boxes, files plain text. Pure. */
export function graphDot(graph: TreeGraph): string {
  const out = [
    `digraph ${quote(graph.machine)} {`,
    "  rankdir=LR;",
    '  node [fontname="sans-serif", fontsize=10];',
    "  edge [fontsize=8];",
  ];
  for (const layer of graph.layers)
    out.push(
      `  ${quote(`layer:${layer}`)} [label=${quote(layerLabel(graph, layer))}, shape=box, style=filled, fillcolor="#dbeafe"];`,
    );
  for (const file of graph.files) {
    out.push(`  ${quote(`file:${file.path}`)} [label=${quote(file.path)}, shape=plaintext];`);
    out.push(
      `  ${quote(`layer:${file.layer}`)} -> ${quote(`file:${file.path}`)}${file.template ? " [label=template]" : ""};`,
    );
  }
  for (const unit of graph.units)
    out.push(
      `  ${quote(`unit:${unit}`)} [label=${quote(unit)}, shape=box, style="filled,rounded", fillcolor="#dcfce7"];`,
    );
  for (const edge of graph.edges)
    out.push(`  ${quote(`file:${edge.file}`)} -> ${quote(`unit:${edge.unit}`)} [label=${quote(edge.kind)}];`);
  out.push("}");
  return `${out.join("\n")}\n`;
}

/** What a layer is called in a picture. Pure. */
export function layerLabel(graph: TreeGraph, layer: string): string {
  return layer === "machine" ? `machines/${graph.machine}` : layer;
}

/** Backslashes are escapes in DOT strings, so they are doubled, too. */
function quote(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&")}"`;
}
