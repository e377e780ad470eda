/**
 * `nft` on copies, in a network namespace of its own: a check asks the kernel, and this host's rules and devices
 * must not matter. What `nft -c` lets pass is loaded there, since the kernel looks at some things only when it commits.
 * That takes root or a user namespace; where neither is to be had the check is skipped, and said so.
 */
import { problem } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import type { Check, Found, Job, JobTools } from "./check.ts";
import { contentKey, includedFiles, intoScratch, outOfScratch, writeScratch } from "./config-copy.ts";
import type { MachineTree } from "./machine-tree.ts";
import { type ProgramResult, runProgram } from "./program.ts";

/** What only the machine can know: its devices, its cgroups. */
const OF_THE_MACHINE = /Interface does not exist|cgroupv2 path fails|Operation not supported|No such device/;
/** Statements that only chains of type nat may have, which the kernel finds out when it loads them (nft(8), NAT STATEMENTS). */
const NAT = /\b(masquerade|snat|dnat|redirect)\b/;
/** Loads where the kernel has these at all. */
const NAT_PROBE = `table inet labctl-probe {
  chain a { type nat hook postrouting priority srcnat; masquerade; }
  chain b { type nat hook prerouting priority dstnat; redirect; }
}
`;
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
  const file = `${scratch}/usr/local/${files[0]}`;
  const nft = namespacedNft(unshare, tools.find("nft") ?? "nft");
  const said = await nft(["-c", "-f", file]);
  const prefix = `${scratch}/usr/local/`;
  if (said.status === 0) return { found: await misplacedNat(tree, file, prefix, scratch, nft) };
  const found: Found[] = [];
  for (const { path, line, column, message } of errorsOf(said.stderr, prefix)) {
    if (OF_THE_MACHINE.test(message)) continue;
    found.push({
      tree,
      diagnostic: problem("nft-ruleset", `nft refuses the rules: ${outOfScratch(message, scratch)}`, {
        place: { file: path, line, column },
        help: "correct the rule; nothing of the file is loaded otherwise",
      }),
    });
  }
  if (found.length === 0 && NOT_PERMITTED.test(said.stderr))
    return { found, skipped: "it needs root, or user namespaces" };
  return { found };
}

type Nft = (args: readonly string[]) => Promise<ProgramResult>;

/** Each call has a namespace that ends with it. Not root: the namespace's own root may do as well. */
function namespacedNft(unshare: string, nft: string): Nft {
  return async (args) => {
    const said = await runProgram(unshare, ["--net", "--", nft, ...args]);
    if (said.status === 0 || !NOT_PERMITTED.test(said.stderr)) return said;
    return runProgram(unshare, ["--user", "--map-root-user", "--net", "--", nft, ...args]);
  };
}

/** Errors at files below `prefix`, with their paths from there. Pure. */
function errorsOf(stderr: string, prefix: string) {
  return stderr.split("\n").flatMap((text) => {
    const [, file = "", line, column, message = ""] =
      /^(?:In file included from .*?: )?(\/\S+?):([0-9]+):([0-9]+)(?:-[0-9]+)?: Error: (.*)$/.exec(text) ??
      [];
    if (!file.startsWith(prefix)) return [];
    return [{ path: file.slice(prefix.length), line: Number(line), column: Number(column), message }];
  });
}

/** What a load says more than `nft -c`. A kernel without NAT says the same of every such statement, so that is tried first. */
async function misplacedNat(
  tree: MachineTree,
  file: string,
  prefix: string,
  scratch: AbsPath,
  nft: Nft,
): Promise<Found[]> {
  const said = await nft(["-f", file]);
  if (said.status === 0) return [];
  const found = errorsOf(said.stderr, prefix).flatMap(({ path, line, column }): Found[] => {
    const statement = NAT.exec(tree.read(path as never)?.split("\n")[line - 1] ?? "")?.[0];
    if (statement === undefined) return [];
    const message = `nft refuses the rules: \`${statement}\` can't stand in this chain`;
    return [
      {
        tree,
        diagnostic: problem("nft-ruleset", message, {
          place: { file: path, line, column },
          notes: [
            "masquerade and snat belong in a chain `type nat hook postrouting`, dnat and redirect in one `type nat hook prerouting` or `output`",
          ],
          help: "move the rule; nothing of the file is loaded otherwise",
        }),
      },
    ];
  });
  if (found.length === 0) return [];
  writeScratch(scratch, "nat-probe.nft", NAT_PROBE);
  return (await nft(["-f", `${scratch}/nat-probe.nft`])).status === 0 ? found : [];
}
