/**
 * `labctl adopt <machine> <path>`: shows what someone changed in a file on a machine, asks, and writes it into the source
 * that the file is built from. Changes nothing on the machine. Exit 0: adopted, or nothing to adopt; 2: `--dry-run`
 * found something; 1: refused.
 */
import type { ManifestEntry } from "../../build/manifest.ts";
import { projectDisk } from "../../build/project-disk.ts";
import { nearestPath } from "../../build/provenance.ts";
import { findSource } from "../../build/source-users.ts";
import { printable } from "../../diagnostics.ts";
import { blake3 } from "../../hash.ts";
import { pathFault, TREE_ROOT } from "../../paths.ts";
import type { Machine } from "../../project/project.ts";
import { readProject } from "../../project/read-project.ts";
import { judgeContents, refuseLive, refuseOrigin } from "../../push/adopt/adoption.ts";
import { fetchFile } from "../../push/adopt/fetch-path.ts";
import { describeAdopt } from "../../push/adopt/problems.ts";
import { verifyLive } from "../../push/live/verify-live.ts";
import type { CommandRun } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { refuseUsage } from "../help.ts";
import { printErr, printJson, refuse } from "../print.ts";
import { buildRequest, treePathArgument } from "../request.ts";
import { startWithTrees } from "../start.ts";
import { type Adoption, concludeAdoption } from "./conclude.ts";
import { type AdoptJob, onMachine, refuseWith } from "./job.ts";
import { adoptNew } from "./new-file.ts";
import { readBytes, templateLines, uncommittedLines } from "./sources.ts";

export const run: CommandRun = async (args) => {
  const [pattern = "", asked = ""] = args.positionals;
  const path = treePathArgument(asked);
  if (path === undefined)
    return refuseUsage(`\`adopt\` wants a path under ${TREE_ROOT}, not \`${printable(asked)}\``, "adopt");
  const start = await startWithTrees(args, "adopt", [pattern]);
  if (typeof start === "number") return start;
  const [built, ...others] = start.built;
  if (!built || others.length > 0) return refuseUsage("`adopt` wants one machine", "adopt");
  if (!args.flag("yes") && !args.flag("dry-run") && !start.options.confirm)
    return refuseUsage(
      "there is no terminal to ask on: --yes writes without asking, --dry-run only shows",
      "adopt",
    );
  const request = buildRequest(args, []);
  if (!request.ok) return refuse(request.problems);
  const project = readProject(request.value.root, request.value.builtInLayers, projectDisk());
  if (!project.ok) return refuse(project.problems);
  const job: AdoptJob = {
    args,
    start,
    built,
    path,
    project: project.value,
    builtInLayers: request.value.builtInLayers,
  };
  const entry = built.wanted.manifest.entries.find((e) => e.path === path);
  const into = args.value("into");
  if (into !== undefined) return adoptNew(job, into, entry);
  if (entry) return adoptEdit(job, entry);
  const near = nearestPath(
    path,
    built.wanted.manifest.entries.filter((e) => e.type === "file").map((e) => e.path),
  );
  return refuseWith(
    job,
    describeAdopt({ kind: "not-built", machine: built.machine.name, path, near, onMachine: false }),
  );
};

async function adoptEdit(job: AdoptJob, entry: ManifestEntry): Promise<number> {
  const { built, project, builtInLayers } = job;
  const { machine } = built;
  const { layer, source } = entry.origin;
  const found = findSource(project.root, builtInLayers, project.machines, source);
  const builtIn = machine.layers.some((l) => l.name === layer && l.builtIn);
  const refused = refuseOrigin({ machine: machine.name, entry, builtIn, users: found.users });
  if (refused) return refuseWith(job, refused);
  const file = found.source?.file;
  const at = { machine: machine.name, path: entry.path, source };
  if (!file || pathFault(entry.path)) return refuseWith(job, describeAdopt({ kind: "source-moved", ...at }));
  if (!entry.origin.template) {
    const diff = uncommittedLines(file);
    if (diff) return refuseWith(job, describeAdopt({ kind: "uncommitted", ...at, diff }));
  }
  return onMachine(job, async (transport) => {
    const b3 = await blake3();
    const look = await verifyLive(transport, machine.name, job.start.named.known, built.wanted, b3);
    if (!look.ok) return refuseWith(job, ...look.problems);
    const { manifest, answer } = look.value;
    if (!manifest) return refuseWith(job, describeAdopt({ kind: "half-way", ...at }));
    const pushed = manifest.entries.find((e) => e.path === entry.path);
    const live = answer.differing.has(entry.path)
      ? (answer.differing.get(entry.path) ?? "absent")
      : undefined;
    const verdict = refuseLive(machine.name, entry, { pushed, live });
    if (verdict === "same") return nothing(job);
    if (verdict) return refuseWith(job, verdict);
    const bytes = await fetchFile(transport, machine.name, entry.path);
    if (!bytes.ok) return refuseWith(job, ...bytes.problems);
    if (!bytes.value || !pushed || !live || live === "absent")
      return refuseWith(job, describeAdopt({ kind: "not-there", ...at }));
    const contents = { built: readBytes(`${built.wanted.folder}/${entry.path}`), live: bytes.value };
    if (entry.origin.template && !contents.built.equals(contents.live)) {
      const lines = templateLines(job, entry, contents, b3);
      const facts = Object.keys(entry.origin.facts);
      return refuseWith(job, describeAdopt({ kind: "template", ...at, lines, facts }));
    }
    const judged = judgeContents(machine.name, entry, pushed, live, contents);
    if (!judged.ok) return refuseWith(job, ...judged.problems);
    if (judged.value === "same") return nothing(job);
    const adoption: Adoption = {
      entry,
      file,
      source,
      before: contents.built,
      after: judged.value.text,
      note: judged.value.note,
      alsoFor: alsoFor(machine, found.users),
      next: `\`labctl push ${machine.name}\` makes it labctl's again, and changes nothing there`,
    };
    return concludeAdoption(job, adoption, b3);
  });
}

function nothing({ args, built, path }: AdoptJob): number {
  if (args.flag("json")) printJson({ machine: built.machine.name, path, adopted: false, problems: [] });
  if (!args.flag("quiet"))
    printErr(`${built.machine.name}: nothing to adopt: ${TREE_ROOT}/${printable(path)} is as it was pushed`);
  return EXIT.done;
}

function alsoFor(machine: Machine, users: readonly { readonly machine: string }[]): string[] {
  return [...new Set(users.map((u) => u.machine))].filter((name) => name !== machine.name);
}
