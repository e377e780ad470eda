/**
 * `labctl impact K=V` is held against the truth: what it lists must be what really differs when the fact has that value.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { build } from "../../src/build/build.ts";
import { parseManifest } from "../../src/build/manifest.ts";
import type { AbsPath } from "../../src/paths.ts";
import { scenario } from "../scenario.ts";
import { seededRandom } from "../seeded-random.ts";
import type { Files } from "../temporary-repository.ts";

const SEED = 20261121;
const CHANGES = 100;

/** Three machines; templates read facts in every way that templates can. */
const REPOSITORY: Files = {
  "machines/a/machine.ini": "[machine]\nlayers = one, two\n",
  "machines/b/machine.ini": "[machine]\nlayers = two\n",
  "machines/c/machine.ini": "[machine]\nlayers = one\n",
  "layers/one/layer.ini": "[layer]\n[facts]\nP = 1\nQ = 2\nR = r\n",
  "layers/one/etc/p.conf.hbs": "p={{P}}\n",
  "layers/one/etc/pq.conf.hbs": "{{#if (eq P Q)}}same{{else}}{{Q}}{{/if}}\n",
  "layers/one/etc/constant.conf.hbs": "no fact\n",
  "layers/one/lib/systemd/system/one.service.hbs": "[Service]\nExecStart=/bin/true {{R}}\n# {{P}}\n",
  "layers/two/layer.ini": "[layer]\n[facts]\nQ = 2\nS = s\n",
  "layers/two/_partials/line.hbs": 'q={{Q}} s={{default S "none"}}\n',
  "layers/two/etc/partial.conf.hbs": "{{> line}}",
  "layers/two/etc/optional.conf.hbs": "{{#if (isSet T)}}t={{T}}{{/if}}\n",
  "layers/two/lib/systemd/system/two.service":
    "[Service]\nExecStart=/bin/true\nEnvironmentFile=/usr/local/etc/partial.conf\n",
};

test(`for ${CHANGES} random fact changes (seed ${SEED}), impact lists exactly the files that differ`, async () => {
  const random = seededRandom(SEED);
  const s = scenario(REPOSITORY);
  // The truth is built beside it, in this process, so that a hundred rounds take seconds.
  const truth = scenario(REPOSITORY);
  try {
    const hashesWith = async (facts: ReadonlyMap<string, string>): Promise<Map<string, string>> => {
      const root = truth.root as AbsPath;
      const built = await build({
        root,
        builtInLayers: root,
        machines: [],
        facts,
        tool: "test",
        fromNothing: false,
      });
      assert.ok(built.ok, JSON.stringify(built));
      const out = new Map<string, string>();
      for (const machine of ["a", "b", "c"]) {
        const manifest = parseManifest(readFileSync(join(root, `var/tree/${machine}/manifest.json`), "utf8"));
        for (const e of manifest?.entries ?? [])
          if (e.type === "file") out.set(`${machine} ${e.path}`, e.hash);
      }
      return out;
    };
    const before = await hashesWith(new Map());
    let nothing = 0;
    for (let i = 0; i < CHANGES; i++) {
      const name = random.pick(["P", "Q", "R", "S", "T", "U"]);
      const value = random.pick(["1", "2", "r", "s", "other", ""]);
      const said = s.run(["impact", `${name}=${value}`, "--json"]);
      assert.equal(said.code, 0, said.stderr);
      const forecast = (
        JSON.parse(said.stdout) as { machines: { machine: string; files: { path: string }[] }[] }
      ).machines;
      const predicted = forecast.flatMap((m) => m.files.map((f) => `${m.machine} ${f.path}`)).sort();
      const after = await hashesWith(new Map([[name, value]]));
      const real = [...after].filter(([key, hash]) => before.get(key) !== hash).map(([key]) => key);
      assert.deepEqual(predicted, real.sort(), `${name}=${value}`);
      if (real.length === 0) nothing++;
    }
    assert.ok(nothing > 0 && nothing < CHANGES, "the changes must hit and miss");
  } finally {
    s.end();
    truth.end();
  }
});

test("impact names the units that a change restarts, and leaves out those that only a comment reaches", () => {
  const s = scenario(REPOSITORY);
  try {
    assert.equal(
      s.run(["impact", "R=x"]).stdout,
      "a:\n  ~ lib/systemd/system/one.service  (layers/one/lib/systemd/system/one.service.hbs)\n" +
        "  restart one.service: Service.ExecStart (lib/systemd/system/one.service:2) changed\n" +
        "c:\n  ~ lib/systemd/system/one.service  (layers/one/lib/systemd/system/one.service.hbs)\n" +
        "  restart one.service: Service.ExecStart (lib/systemd/system/one.service:2) changed",
    );
    const comment = s.run(["impact", "P=9"]).stdout;
    assert.match(comment, /~ lib\/systemd\/system\/one\.service /);
    assert.doesNotMatch(comment, /restart/);
    assert.match(
      s.run(["impact", "Q=9", "b"]).stdout,
      /restart two\.service: takes its environment from etc\/partial\.conf/,
    );
  } finally {
    s.end();
  }
});

test("a fact that nothing reads changes nothing, and says so", () => {
  const s = scenario(REPOSITORY);
  try {
    assert.deepEqual(s.run(["impact", "U=1"]), {
      code: 0,
      stdout: "",
      stderr: "U=1 changes nothing on any machine",
    });
  } finally {
    s.end();
  }
});
