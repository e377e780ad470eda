/** `labctl doctor`: what of host and repository is not as it should be, each with the next step. Asks no machine, changes nothing. */
import { sortDiagnostics } from "../../diagnostics.ts";
import { findRoot } from "../../project/find-root.ts";
import type { CommandRun } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { paint, printDiagnostics, printErr, printJson, refuse } from "../print.ts";
import { buildRequest } from "../request.ts";
import { judgeHealth, readHostHealth } from "./host-health.ts";
import { examineRepository, type RepositoryHealth } from "./repository-health.ts";

/** Exit code 0: warnings at most; 1: something that has to be mended. */
export const run: CommandRun = async (args) => {
  const host = judgeHealth(readHostHealth(process.env));
  let repository: RepositoryHealth | undefined;
  // Somewhere else the host alone is a fair question; a folder that is named is meant.
  if (args.value("directory") !== undefined || findRoot(".").ok) {
    const request = buildRequest(args, []);
    if (!request.ok) return refuse(request.problems);
    repository = await examineRepository(request.value, Date.now());
  }
  const findings = [...host, ...sortDiagnostics(repository?.findings ?? [])];
  const errors = findings.filter((f) => f.severity === "error").length;
  if (args.flag("json")) {
    printJson({ host, repository: repository ?? null });
    return errors > 0 ? EXIT.failed : EXIT.done;
  }
  printDiagnostics(findings);
  if (!args.flag("quiet")) {
    const count = repository?.machines ?? 0;
    const seen = repository
      ? `this host and a repository of ${count} machine${count === 1 ? "" : "s"}`
      : "this host; there is no repository here, `labctl init` begins one";
    const rest = findings.length - errors;
    const verdict =
      findings.length === 0
        ? paint("green", "nothing wrong")
        : `${errors} to mend, ${rest} that could be better`;
    printErr(`looked at ${seen}: ${verdict}`);
  }
  return errors > 0 ? EXIT.failed : EXIT.done;
};
