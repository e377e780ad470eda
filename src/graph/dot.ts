/** A tree graph in Graphviz' DOT language. Pure. */
import type { TreeGraph } from "./tree-graph.ts";

/** One digraph, left to right; layers and units are boxes, files plain text. Pure. */
export function graphDot(graph: TreeGraph): string {
  const out = [
    `digraph ${quoteDot(graph.machine)} {`,
    "  rankdir=LR;",
    '  node [fontname="sans-serif", fontsize=10];',
    "  edge [fontsize=8];",
  ];
  for (const layer of graph.layers)
    out.push(
      `  ${quoteDot(`layer:${layer}`)} [label=${quoteDot(layerLabel(graph, layer))}, shape=box, style=filled, fillcolor="#dbeafe"];`,
    );
  for (const file of graph.files) {
    out.push(`  ${quoteDot(`file:${file.path}`)} [label=${quoteDot(file.path)}, shape=plaintext];`);
    out.push(
      `  ${quoteDot(`layer:${file.layer}`)} -> ${quoteDot(`file:${file.path}`)}${file.template ? " [label=template]" : ""};`,
    );
  }
  for (const unit of graph.units)
    out.push(
      `  ${quoteDot(`unit:${unit}`)} [label=${quoteDot(unit)}, shape=box, style="filled,rounded", fillcolor="#dcfce7"];`,
    );
  for (const edge of graph.edges)
    out.push(
      `  ${quoteDot(`file:${edge.file}`)} -> ${quoteDot(`unit:${edge.unit}`)} [label=${quoteDot(edge.kind)}];`,
    );
  out.push("}");
  return `${out.join("\n")}\n`;
}

/** What a layer is called in a picture. Pure. */
export function layerLabel(graph: TreeGraph, layer: string): string {
  return layer === "machine" ? `machines/${graph.machine}` : layer;
}

/** A DOT string. Backslashes are escapes in those, so they are doubled, too; a newline begins a line of the label. Pure. */
export function quoteDot(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}
