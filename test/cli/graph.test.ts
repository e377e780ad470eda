/** `labctl graph`: the same graph as JSON, DOT and SVG; names can't break out of either language. */
import assert from "node:assert/strict";
import test from "node:test";
import { scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const REPOSITORY: Files = {
  "machines/gw/machine.ini": "[machine]\nlayers = web\n",
  "machines/gw/etc/own.conf": "x\n",
  "layers/base/layer.ini": "[layer]\n",
  "layers/web/layer.ini": "[layer]\n",
  'layers/web/etc/a <b> & "c" \\d.conf': "x\n",
  "layers/web/etc/web.conf": "x\n",
  "layers/web/lib/systemd/system/web.service":
    "[Service]\nExecStart=/usr/bin/web\nBindReadOnlyPaths=/usr/local/etc/web.conf:/etc/web.conf\n",
  "layers/web/lib/systemd/system/multi-user.target.wants/web.service": { link: "../web.service" },
};

test("the graph has layers in order, files by layer, and how each file reaches its unit", () => {
  const s = scenario(REPOSITORY);
  try {
    const graph = JSON.parse(s.run(["graph", "gw", "--json"]).stdout) as {
      layers: string[];
      units: string[];
      edges: { file: string; unit: string; kind: string }[];
    };
    assert.deepEqual(graph.layers, ["web", "machine"]);
    assert.deepEqual(graph.units, ["web.service"]);
    assert.deepEqual(graph.edges.map((e) => `${e.file} ${e.kind} ${e.unit}`).sort(), [
      "etc/web.conf bind web.service",
      "lib/systemd/system/multi-user.target.wants/web.service pulls in web.service",
      "lib/systemd/system/web.service defines web.service",
    ]);
  } finally {
    s.end();
  }
});

test("odd file names stay inside their strings, in SVG and in DOT", () => {
  const s = scenario(REPOSITORY);
  try {
    const svg = s.run(["graph", "gw"]).stdout;
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"[\s\S]*<\/svg>$/);
    assert.match(svg, /etc\/a &lt;b&gt; &amp; &quot;c&quot; \\d\.conf/);
    assert.doesNotMatch(svg, /<b>/);
    const dot = s.run(["graph", "gw", "--dot"]).stdout;
    assert.match(dot, /label="etc\/a <b> & \\"c\\" \\\\d\.conf"/);
  } finally {
    s.end();
  }
});
