/** `labctl secret list|show`: what there is, and one value. `show` is the one place that prints a value. */
import { projectDisk } from "../../build/project-disk.ts";
import { settleCredentials } from "../../build/secret-entries.ts";
import type { Diagnostic } from "../../diagnostics.ts";
import { blake3 } from "../../hash.ts";
import type { AbsPath } from "../../paths.ts";
import { readProject } from "../../project/read-project.ts";
import { shortVersion, versionOf } from "../../secrets/age-file.ts";
import { listSecrets, openSecrets, readSecret } from "../../secrets/secret-store.ts";
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { printBytes, printDiagnostics, printErr, printJson, printOut, refuse } from "../print.ts";
import { ownKeyring } from "../prompts.ts";
import { buildRequest } from "../request.ts";

/** Each secret with its version and the machines that it goes to; works while all are locked. */
export async function listAll(args: ParsedArguments, root: AbsPath): Promise<number> {
  const request = buildRequest(args, []);
  if (!request.ok) return refuse(request.problems);
  const project = readProject(root, request.value.builtInLayers, projectDisk());
  if (!project.ok) return refuse(project.problems);
  const wanted = project.value.machines.flatMap((m) =>
    settleCredentials(m).credentials.map((c) => ({ machine: m.name, ...c })),
  );
  const b3 = await blake3();
  const problems: Diagnostic[] = [];
  const secrets = listSecrets(root).map((name) => {
    const file = readSecret(root, name);
    if (!file.ok) problems.push(...file.problems);
    return {
      name,
      version: file.ok ? (versionOf(file.value, b3) as string) : null,
      recipients: file.ok ? file.value.recipientKinds.length : null,
      machines: wanted
        .filter((w) => w.secret === name)
        .map(({ machine, credential }) => ({ machine, credential })),
    };
  });
  if (args.flag("json")) printJson({ secrets, problems });
  else {
    const width = Math.max(0, ...secrets.map((s) => s.name.length));
    for (const s of secrets) {
      const to = s.machines.map((m) =>
        m.credential === s.name ? m.machine : `${m.machine} as ${m.credential}`,
      );
      const goes = to.length === 0 ? "no machine wants it" : to.join(", ");
      printOut(`${s.name.padEnd(width)}  ${s.version ? shortVersion(s.version) : "damaged     "}  ${goes}`);
    }
    if (secrets.length === 0) printErr("there are no secrets; `labctl secret add NAME` makes one");
    printDiagnostics(problems);
  }
  return problems.length === 0 ? EXIT.done : EXIT.failed;
}

/** The value on standard output, byte for byte. */
export async function showValue(root: AbsPath, name: string): Promise<number> {
  const file = readSecret(root, name);
  if (!file.ok) return refuse(file.problems);
  const opened = await openSecrets(new Map([[name, file.value]]), ownKeyring());
  if (!opened.ok) return refuse(opened.problems);
  printBytes(opened.value.get(name) ?? new Uint8Array());
  return EXIT.done;
}
