/**
 * `nft -c` on copies, in a network namespace of its own: a check asks the kernel, and this host's rules and devices
 * must not matter. That takes root or a user namespace; where neither is to be had the check is skipped, and said so.
 */
import { problem } from "../diagnostics.ts";
import type { Check, Found, Job, JobTools } from "./check.ts";
import { contentKey, includedFiles, intoScratch, outOfScratch, writeScratch } from "./config-copy.ts";
import type { MachineTree } from "./machine-tree.ts";
import { type ProgramResult, runProgram } from "./program.ts";

/** What only the machine can know: its devices, its cgroups. */
const OF_THE_MACHINE = /Interface does not exist|cgroupv2 path fails|Operation not supported|No such device/;
const NOT_PERMITTED = /Operation not permitted|Permission denied|unshare failed|cannot open/i;

export const nftables: Check = {
  name: "nft -c",
  program: "nft",
  plan: (trees) => {
    const seen = new Set<string>();
    return trees.flatMap((tree) =>
      rootFiles(tree).flatMap((root): Job[] => {
        const files = includedFiles(tree, root, includesOf);
        const key = contentKey(tree, files);
        if (seen.has(key)) return [];
        seen.add(key);
        return [(tools) => test(tree, files, tools)];
      }),
    );
  },
};

function includesOf(text: string): string[] {
  return [...text.matchAll(/^\s*include\s+"([^"]+)"/gm)].map((m) => m[1] ?? "");
}

/** Rule sets that no other includes: an included part need not be whole by itself. */
function rootFiles(tree: MachineTree): string[] {
  const sets = tree.files
    .map((f) => f.path)
    .filter(
      (p) => p.endsWith(".nft") || p.endsWith("/nftables.conf") || /(^|\/)nftables\.d\/[^/]+\.conf$/.test(p),
    );
  const parts = new Set(sets.flatMap((p) => includedFiles(tree, p, includesOf).slice(1)));
  return sets.filter((p) => !parts.has(p));
}

async function test(
  tree: MachineTree,
  files: readonly string[],
  tools: JobTools,
): Promise<{ found: Found[]; skipped?: string }> {
  const scratch = tools.scratch();
  const unshare = tools.find("unshare");
  if (unshare === undefined)
    return { found: [], skipped: "it needs unshare for a network namespace of its own" };
  for (const path of files)
    writeScratch(scratch, `usr/local/${path}`, intoScratch(tree.read(path as never) ?? "", scratch));
  const args = [tools.find("nft") ?? "nft", "-c", "-f", `${scratch}/usr/local/${files[0]}`];
  let said: ProgramResult = await runProgram(unshare, ["--net", "--", ...args]);
  // Not root: the namespace's own root may do as well.
  if (said.status !== 0 && NOT_PERMITTED.test(said.stderr))
    said = await runProgram(unshare, ["--user", "--map-root-user", "--net", "--", ...args]);
  if (said.status === 0) return { found: [] };
  const prefix = `${scratch}/usr/local/`;
  const found: Found[] = [];
  const whole = said.stderr.split("\n");
  for (const line of whole) {
    const match =
      /^(?:In file included from .*?: )?(\/\S+?):([0-9]+):([0-9]+)(?:-[0-9]+)?: Error: (.*)$/.exec(line);
    const [, file = "", number, column, message = ""] = match ?? [];
    if (!match || OF_THE_MACHINE.test(message) || !file.startsWith(prefix)) continue;
    found.push({
      tree,
      diagnostic: problem("nft-ruleset", `nft refuses the rules: ${outOfScratch(message, scratch)}`, {
        place: { file: file.slice(prefix.length), line: Number(number), column: Number(column) },
        help: "correct the rule; nothing of the file is loaded otherwise",
      }),
    });
  }
  if (found.length === 0 && NOT_PERMITTED.test(said.stderr))
    return { found, skipped: "it needs root, or user namespaces" };
  return { found };
}
