/**
 * The promise of the build: after any edits, what stands in `var/tree` is what a build from nothing makes, only steps
 * whose result could differ ran, and nothing outside the repository was touched. Random edits, fixed seed
 * (LABCTL_FUZZ_SEED), as many sequences as LABCTL_FUZZ_SEQUENCES says.
 */
import assert from "node:assert/strict";
import { cpSync, existsSync, lstatSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "../../src/build/build.ts";
import type { BuildRequest, BuildResult } from "../../src/build/build-result.ts";
import { lookFresh } from "../../src/build/fresh.ts";
import { type Manifest, parseManifest } from "../../src/build/manifest.ts";
import type { Result } from "../../src/diagnostics.ts";
import { success } from "../../src/diagnostics.ts";
import type { AbsPath } from "../../src/paths.ts";
import { type SeededRandom, seededRandom } from "../seeded-random.ts";
import { copySources, difference, photograph, temporaryFolder, writeFiles } from "../temporary-repository.ts";
import { BUILT_IN, builtInOf, PROGRAMS, randomEdit, START } from "./random-edits.ts";

const SEQUENCES = Number(process.env.LABCTL_FUZZ_SEQUENCES ?? 60);
const SEED = Number(process.env.LABCTL_FUZZ_SEED ?? 20260731);
const EDITS_PER_SEQUENCE = 6;
/** Longer than every margin within which a time stamp is not trusted. */
const SETTLED_MS = 60;

interface Trees {
  readonly tree: Map<string, string>;
  readonly manifests: ReadonlyMap<string, Manifest>;
}

function request(root: AbsPath, builtInLayers: AbsPath): BuildRequest {
  const templateCache = join(root, "../templates") as AbsPath;
  return {
    root,
    builtInLayers,
    machines: [],
    facts: new Map(),
    tool: "test",
    fromNothing: false,
    templateCache,
  };
}

/** The same repository, asked for something else. */
function otherRequest(r: BuildRequest, random: SeededRandom): BuildRequest {
  const machines = random.chance(0.7) ? [random.pick(["m1", "m2", "m3"])] : [];
  return { ...r, machines, facts: new Map(random.chance(0.4) ? [["A", "given"]] : []) };
}

/** As the CLI does it: the cheap look first. */
async function buildAsCli(r: BuildRequest): Promise<Result<BuildResult>> {
  const look = lookFresh(r);
  if (look.kind === "fresh") return success(look.result);
  return await build(r, look.kind === "differs" ? look.differences : undefined);
}

function treesOf(root: string): Trees {
  const tree = photograph(join(root, "var/tree"));
  const manifests = new Map<string, Manifest>();
  for (const [path, what] of tree) {
    if (!/^[^/]+\/manifest\.json$/.test(path) || !what.startsWith("file")) continue;
    const manifest = parseManifest(readFileSync(join(root, "var/tree", path), "utf8"));
    if (manifest) manifests.set(manifest.machine, manifest);
  }
  return { tree, manifests };
}

/** Bytes of a source or partial today, or nothing. */
function bytesOf(root: string, path: string): string {
  const file = join(root, path);
  return existsSync(file) && statSync(file).isFile() ? readFileSync(file, "latin1") : "";
}

function inputsOf(root: string): string {
  return [...photograph(join(root, "layers"))]
    .filter(([path]) => path.includes("_partials") || path.endsWith(".ts"))
    .map((entry) => entry.join("="))
    .join("\n");
}

interface Before {
  readonly trees: Trees;
  /** The tree as it stood when the build began, damage and all. */
  readonly damaged: Map<string, string>;
  readonly sources: ReadonlyMap<string, string>;
  readonly parts: string;
}

/** Steps that had no reason, by what is known without the build: both trees, the damage, and the sources' bytes. */
function idleSteps(result: BuildResult, before: Before, after: Trees, root: string): string[] {
  const partsChanged = inputsOf(root) !== before.parts;
  return result.machines.flatMap((m) => {
    const was = new Map(before.trees.manifests.get(m.machine)?.entries.map((e) => [e.path as string, e]));
    const is = new Map(after.manifests.get(m.machine)?.entries.map((e) => [e.path as string, e]));
    return m.steps
      .filter(({ path, action }) => {
        const key = `${m.machine}/usr/local/${path}`;
        const old = was.get(path);
        const now = is.get(path);
        if (!now) return !(before.damaged.has(key) || old);
        if (!old || before.damaged.get(key) !== after.tree.get(key)) return false;
        if (before.trees.tree.get(key) !== after.tree.get(key)) return false;
        const { facts: oldFacts, ...oldOrigin } = old.origin;
        const { facts: newFacts, ...newOrigin } = now.origin;
        const moved = JSON.stringify({ ...old, origin: 0 }) !== JSON.stringify({ ...now, origin: 0 });
        if (moved) return false;
        if (action !== "render" && action !== "bundle") return true;
        return (
          !partsChanged &&
          JSON.stringify(oldOrigin) === JSON.stringify(newOrigin) &&
          JSON.stringify(oldFacts) === JSON.stringify(newFacts) &&
          before.sources.get(now.origin.source) === bytesOf(root, now.origin.source)
        );
      })
      .map((s) => `${m.machine}: ${s.action} ${s.path}: ${s.reason}`);
  });
}

test("after every edit the tree equals one built from nothing, and no step ran in vain", async (t) => {
  t.diagnostic(`seed ${SEED}, ${SEQUENCES} sequences of ${EDITS_PER_SEQUENCE} edits`);
  const scratch = temporaryFolder("fuzz", true);
  const root = join(scratch, "repository") as AbsPath;
  const builtIn = builtInOf(root) as AbsPath;
  const outside = join(scratch, "outside");
  const copy = join(scratch, "a copy elsewhere") as AbsPath;
  const undo = join(scratch, "undo");
  const counts = { builds: 0, refused: 0, fresh: 0, steps: 0 };
  try {
    for (let sequence = 0; sequence < SEQUENCES; sequence++) {
      const random = seededRandom(SEED + sequence);
      rmSync(root, { recursive: true, force: true });
      rmSync(outside, { recursive: true, force: true });
      writeFiles(builtIn, BUILT_IN);
      // A bundler that starts for every build would take most of the time.
      writeFiles(root, sequence % 5 === 0 ? { ...START, ...PROGRAMS } : START);
      // What a careless build would find behind a link, under names that the trees have.
      for (const name of ["lib", "etc", "deep", "libexec", "sub", "usr", "local"])
        writeFiles(outside, {
          [`${name}/plain`]: "outside",
          [`${name}/deep/plain`]: "outside",
          [`${name}.x`]: "",
        });
      const sentinel = photograph(outside);
      const history: string[] = [];
      let built = await buildAsCli(request(root, builtIn));
      assert.ok(built.ok, `the first build failed: ${JSON.stringify(built)}`);
      let last = treesOf(root);
      for (let i = 0; i < EDITS_PER_SEQUENCE; i++) {
        if (random.chance(0.3)) {
          await sleep(SETTLED_MS);
          assert.deepEqual(
            stepsOf(await buildAsCli(request(root, builtIn))),
            [],
            "a settled build had steps",
          );
          if (lookFresh(request(root, builtIn)).kind === "fresh") counts.fresh++;
          else assert.fail(`sequence ${SEED + sequence}: nothing changed, yet the cheap look did not see it`);
        }
        copySources(root, undo);
        const sources = new Map<string, string>();
        for (const top of ["layers", "machines", "shared"])
          for (const [path] of photograph(join(root, top)))
            sources.set(`${top}/${path}`, bytesOf(root, `${top}/${path}`));
        const parts = inputsOf(root);
        history.push(randomEdit(root, outside, random));
        // Builds of a few machines, or with other facts, come between; how they end is nobody's business here.
        const between = random.chance(0.25) ? otherRequest(request(root, builtIn), random) : undefined;
        if (between) {
          await buildAsCli(between);
          history.push(`built ${between.machines.join(" ")} with ${JSON.stringify([...between.facts])}`);
        }
        const where = `seed ${SEED + sequence}, edits:\n  ${history.join("\n  ")}\n`;
        const damaged = photograph(join(root, "var/tree"));
        built = await buildAsCli(request(root, builtIn));
        copySources(root, copy);
        const fromNothing = await build(request(copy, builtIn));
        counts.builds++;
        assert.equal(built.ok, fromNothing.ok, `${where}${problemsOf(built)}${problemsOf(fromNothing)}`);
        if (!built.ok) {
          counts.refused++;
          assert.equal(problemsOf(built), problemsOf(fromNothing).replaceAll(copy, root), where);
          // What the edit broke is put back, as people do; the outputs stay as they are.
          for (const top of ["layers", "machines", "shared", "facts"]) {
            rmSync(join(root, top), { recursive: true, force: true });
            cpSync(join(undo, top), join(root, top), { recursive: true, verbatimSymlinks: true });
          }
          history.push("undone");
          built = await buildAsCli(request(root, builtIn));
          assert.ok(built.ok, `${where}${problemsOf(built)}`);
        }
        const expected = built.ok && fromNothing.ok ? treesOf(copy) : last;
        const now = treesOf(root);
        assert.deepEqual(difference(now.tree, expected.tree), [], where);
        assert.deepEqual(difference(photograph(outside), sentinel), [], `written outside; ${where}`);
        counts.steps += stepsOf(built).length;
        // A lost state is noticed by the first build that needs it, which may come later.
        const lost = history.some((edit) => edit.startsWith("lose or break"));
        const known = (steps: readonly string[]): readonly string[] =>
          lost ? steps.filter((step) => !step.endsWith("no usable record of an earlier build")) : steps;
        if (!between && known(stepsOf(built)).length === stepsOf(built).length) {
          const idle = idleSteps(built.value, { trees: last, damaged, sources, parts }, now, root);
          assert.deepEqual(idle, [], `steps in vain; ${where}`);
        }
        const again = await buildAsCli(request(root, builtIn));
        assert.deepEqual(known(stepsOf(again)), [], `built again; ${where}`);
        assert.deepEqual(
          difference(photograph(join(root, "var/tree")), expected.tree),
          [],
          `built again; ${where}`,
        );
        last = now;
      }
    }
    t.diagnostic(JSON.stringify(counts));
    if (SEQUENCES >= 60) {
      assert.ok(counts.refused > 0 && counts.refused < counts.builds / 2, "most edits must be buildable");
      assert.ok(counts.fresh > 0 && counts.steps > counts.builds, "edits must lead to steps");
    }
  } finally {
    if (lstatSync(scratch).isDirectory()) rmSync(scratch, { recursive: true });
  }
});

function stepsOf(result: Result<BuildResult>): readonly string[] {
  if (!result.ok) return [problemsOf(result)];
  return result.value.machines.flatMap((m) =>
    m.steps.map((s) => `${m.machine}: ${s.action} ${s.path}: ${s.reason}`),
  );
}

function problemsOf(result: Result<BuildResult>): string {
  return result.ok ? "" : `${JSON.stringify(result.problems, null, 1)}\n`;
}
