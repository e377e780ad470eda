/**
 * `sshd -t` on copies, with a host key made for the occasion and nothing of this host's /etc/ssh. It runs as nobody where
 * labctl runs as root, because sshd would otherwise want its privilege separation folder.
 */
import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { problem } from "../diagnostics.ts";
import type { Check, Found, Job, JobTools } from "./check.ts";
import { contentKey, includedFiles, intoScratch, outOfScratch, writeScratch } from "./config-copy.ts";
import type { MachineTree } from "./machine-tree.ts";
import { runProgram } from "./program.ts";

const MAIN = "etc/ssh/sshd_config";
/** `nobody` and `nogroup` of Debian. */
const NOBODY = 65534;

export const sshd: Check = {
  name: "sshd -t",
  program: "sshd",
  plan: (trees) => {
    const seen = new Set<string>();
    return trees.flatMap((tree): Job[] => {
      const main = tree.stat(MAIN)?.type === "file" ? MAIN : undefined;
      const dropIns = tree.files
        .map((f) => f.path)
        .filter((p) => /^etc\/ssh\/sshd_config\.d\/[^/]+\.conf$/.test(p));
      const files = main === undefined ? dropIns : includedFiles(tree, main, includesOf);
      if (files.length === 0) return [];
      const key = contentKey(tree, files);
      if (seen.has(key)) return [];
      seen.add(key);
      return [(tools) => test(tree, files, tools)];
    });
  },
};

function includesOf(text: string): string[] {
  return [...text.matchAll(/^\s*Include\s+(.+)$/gim)].flatMap((m) => (m[1] ?? "").trim().split(/\s+/));
}

async function test(
  tree: MachineTree,
  files: readonly string[],
  tools: JobTools,
): Promise<{ found: Found[]; skipped?: string }> {
  const scratch = tools.scratch();
  const keygen = tools.find("ssh-keygen");
  if (keygen === undefined) return { found: [], skipped: "it needs ssh-keygen for a host key to test with" };
  const key = join(scratch, "host_key");
  const made = await runProgram(keygen, ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  if (made.status !== 0) return { found: [], skipped: "ssh-keygen made no host key" };
  mkdirSync(join(scratch, "etc/ssh"), { recursive: true });
  for (const path of files) {
    const text = tree.read(path as never) ?? "";
    const copy = intoScratch(text, scratch).replace(/^(\s*)HostKey\s.*$/gim, `$1HostKey ${key}`);
    writeScratch(scratch, `usr/local/${path}`, copy);
  }
  const root =
    files[0] === MAIN
      ? join(scratch, "usr/local", MAIN)
      : writeScratch(scratch, "sshd_config", `Include ${scratch}/usr/local/etc/ssh/sshd_config.d/*.conf\n`);
  const asNobody = process.getuid?.() === 0;
  chmodSync(scratch, 0o755);
  if (asNobody) chownSync(key, NOBODY, NOBODY);
  const said = await runProgram(
    tools.find("sshd") ?? "sshd",
    ["-t", "-f", root, "-h", key],
    asNobody ? { uid: NOBODY, gid: NOBODY } : {},
  );
  const found: Found[] = [];
  for (const line of said.stderr.split("\n")) {
    const match = /^(\/.*?)(?::)? line ([0-9]+): (.*?)\.?\r?$/.exec(line.trim());
    if (!match) continue;
    const [, file = "", number, message = ""] = match;
    const prefix = `${scratch}/usr/local/`;
    if (!file.startsWith(prefix)) continue;
    found.push({
      tree,
      diagnostic: problem("sshd-config", `sshd refuses the line: ${outOfScratch(message, scratch)}`, {
        place: { file: file.slice(prefix.length), line: Number(number) },
        help: "correct the line; with it sshd would not start, and the machine could not be reached",
      }),
    });
  }
  if (found.length === 0 && said.status !== 0) {
    const first = said.stderr.split("\n").find((l) => l !== "") ?? "no reason given";
    return { found, skipped: outOfScratch(first, scratch) };
  }
  return { found };
}
