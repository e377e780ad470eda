/**
 * The wording of what this module can find wrong in unit files. Problems are data elsewhere; here is their only text.
 */
import { type Diagnostic, problem, warning } from "../diagnostics.ts";
import type { StrayTrigger } from "./references.ts";
import type { UnitFileProblem } from "./unit-file.ts";

/** Words a parser's finding; `file` as a `Place` has it. Pure. */
export function unitFileDiagnostic(found: UnitFileProblem, file: string): Diagnostic {
  const place = { file, line: found.line };
  const notes = [`found: ${found.text}`];
  switch (found.fault) {
    case "missing-equals":
      return warning(
        "unit-missing-equals",
        "line is neither a section, a comment nor `key=value`; systemd ignores it",
        {
          place,
          notes,
          help: "write `key=value`, or `#` before a comment",
        },
      );
    case "missing-key":
      return warning("unit-missing-key", "nothing stands before the `=`; systemd ignores the line", {
        place,
        notes,
        help: "write the setting's name before the `=`",
      });
    case "outside-section":
      return warning("unit-outside-section", "setting stands before the first section; systemd ignores it", {
        place,
        notes,
        help: "put a header such as `[Service]` above it",
      });
    case "bad-header":
      return problem("unit-bad-header", "section header has no closing `]`; systemd refuses the whole file", {
        place,
        notes,
        help: "close the header with `]`",
      });
    case "open-continuation":
      return warning("unit-open-continuation", "file ends in a line that asks for a continuation", {
        place,
        notes,
        help: "remove the backslash at the end of the line",
      });
  }
}

/** Words a `ReloadOn=`/`RestartOn=` path that can never match. Pure. */
export function strayTriggerDiagnostic(stray: StrayTrigger): Diagnostic {
  return warning("unit-stray-trigger", `\`${stray.key}=\` names a path that is not below /usr/local`, {
    place: stray.place,
    notes: [`found: ${stray.text}`],
    help: "name a file, a folder or a `*` pattern by its absolute path below /usr/local",
  });
}
