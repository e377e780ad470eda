/**
 * What of a repository is not as it should be: what a build would refuse, what is unknown or old, what Git should leave alone.
 * Reads, and changes nothing; asks no machine.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { BuildRequest } from "../../build/build-result.ts";
import { projectDisk } from "../../build/project-disk.ts";
import { type Diagnostic, warning } from "../../diagnostics.ts";
import type { Machine } from "../../project/project.ts";
import { readProject } from "../../project/read-project.ts";
import { identityPath } from "../../secrets/identity.ts";
import { listSecrets } from "../../secrets/secret-store.ts";
import { buildIfNeeded } from "../build.ts";

/** What was probed longer ago may well be wrong by now. */
const OLD_DAYS = 90;
const DAY_MS = 86_400_000;

/** What was found of one machine's probed facts. */
export interface ProbeAge {
  readonly machine: string;
  /** Milliseconds since 1970; undefined: never probed, or the file does not say. */
  readonly probedAt: number | undefined;
}

export interface RepositoryHealth {
  readonly machines: number;
  readonly findings: readonly Diagnostic[];
}

/** Effects: reads, a dry run of a build, and Git. */
export async function examineRepository(request: BuildRequest, now: number): Promise<RepositoryHealth> {
  const disk = projectDisk();
  const project = readProject(request.root, request.builtInLayers, disk);
  // The build has its problems, too, and more.
  const built = await buildIfNeeded({ ...request, dryRun: true });
  const findings: Diagnostic[] = built.ok ? [...built.warnings] : [...built.problems];
  if (!project.ok) return { machines: 0, findings };
  const { machines } = project.value;
  if (machines.length === 0)
    findings.push(
      warning("doctor-no-machine", "the repository has no machine", {
        help: "make machines/NAME/machine.ini with `[machine]` and `host = …`",
      }),
    );
  const ages = machines.map(({ name }): ProbeAge => {
    const text = disk.readText(join(request.root, `facts/probed/${name}.json`));
    const at = Date.parse(/"probedAt":\s*"([^"]+)"/.exec(text ?? "")?.[1] ?? "");
    return { machine: name, probedAt: Number.isNaN(at) ? undefined : at };
  });
  findings.push(...judgeProbes(ages, now));
  findings.push(...judgeFactFiles(factFiles(request.root), machines));
  if (gitIgnores(request.root, "var/x") === false)
    findings.push(
      warning("doctor-var-in-git", "Git does not ignore var/, where builds lie", {
        help: "add a line `/var/` to .gitignore",
      }),
    );
  const secrets = listSecrets(request.root);
  const { file } = identityPath(process.env);
  if (secrets.length > 0 && disk.readText(file) === undefined)
    findings.push(
      warning("doctor-no-identity", `there is no identity that opens the repository's secrets`, {
        notes: [`looked for ${file}`, `secrets: ${secrets.join(", ")}`],
        help: "set LABCTL_AGE_IDENTITY to your age identity file; who has none asks a recipient for `labctl secret rekey`",
      }),
    );
  return { machines: machines.length, findings };
}

/** Paths of facts' files below facts/, but for what labctl writes itself. */
function factFiles(root: string): string[] {
  const folder = join(root, "facts");
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory()) return [entry.name];
    if (entry.name === "probed") return [];
    return readdirSync(join(folder, entry.name)).map((name) => `${entry.name}/${name}`);
  });
}

/** Files that nobody reads, as where a name is misspelt: one finding however many they are. Pure. */
export function judgeFactFiles(
  files: readonly string[],
  machines: readonly Pick<Machine, "name" | "guests">[],
): Diagnostic[] {
  const known = new Set([
    ...["all", "ipam"],
    ...machines.flatMap(({ name, guests }) => [name, ...guests.map((guest) => `${name}/${guest.name}`)]),
  ]);
  const stray = files.filter(
    (file) => /\.(env|json)$/.test(file) && !known.has(file.replace(/\.[a-z]+$/, "")),
  );
  if (stray.length === 0) return [];
  return [
    warning(
      "doctor-facts-of-nobody",
      `facts that no machine and no guest reads: ${stray.sort().join(", ")}`,
      {
        notes: ["looked for: facts/MACHINE.env, facts/MACHINE/GUEST.env, and both as .json"],
        help: "call each as its machine or guest is called, or delete it",
      },
    ),
  ];
}

/** Never probed and old ones, each as one finding however many they are. Pure. */
export function judgeProbes(ages: readonly ProbeAge[], now: number): Diagnostic[] {
  const never = ages.filter((a) => a.probedAt === undefined).map((a) => a.machine);
  const old = ages
    .filter((a) => a.probedAt !== undefined && now - a.probedAt > OLD_DAYS * DAY_MS)
    .map((a) => a.machine);
  return [
    ...(never.length === 0
      ? []
      : [
          warning("doctor-never-probed", `never probed: ${never.join(", ")}`, {
            notes: ["their ids, links and addresses are not known; a layer that reads them does not build"],
            help: `labctl facts probe ${never.join(" ")}`,
          }),
        ]),
    ...(old.length === 0
      ? []
      : [
          warning("doctor-probe-old", `probed more than ${OLD_DAYS} days ago: ${old.join(", ")}`, {
            help: `labctl facts probe ${old.join(" ")}`,
          }),
        ]),
  ];
}

/** Undefined: there is no Git, or no repository of its. */
function gitIgnores(root: string, path: string): boolean | undefined {
  const asked = spawnSync("git", ["--no-optional-locks", "check-ignore", "--quiet", "--", path], {
    cwd: root,
  });
  return asked.status === 0 ? true : asked.status === 1 ? false : undefined;
}
