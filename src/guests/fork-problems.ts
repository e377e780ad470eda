/**
 * Every way in which a copy of an image can fail or be dearer than hoped, and its one wording. Must not find out anything
 * itself, nor print.
 */
import { type Diagnostic, problem, warning } from "../diagnostics.ts";

export type ForkProblem =
  | { readonly kind: "fork-source-missing"; readonly source: string; readonly wanted: "folder" | "file" }
  | { readonly kind: "fork-target-taken"; readonly target: string }
  | { readonly kind: "fork-mounted"; readonly path: string; readonly mounts: readonly string[] }
  | {
      readonly kind: "fork-step-failed";
      readonly step: string;
      readonly argv: readonly string[];
      readonly output: string;
    };

/** Words a problem; the code is its kind. Pure. */
export function describeForkProblem(p: ForkProblem): Diagnostic {
  switch (p.kind) {
    case "fork-source-missing":
      return problem(p.kind, `there is no ${p.wanted} ${p.source} to copy`, {
        notes: ["nothing was made"],
        help: "start its image's unit again (`systemctl restart image@NAME`)",
      });
    case "fork-target-taken":
      return problem(p.kind, `${p.target} is there already`, {
        notes: ["it was left as it is"],
        help: "remove it first, or keep using it",
      });
    case "fork-mounted":
      return problem(p.kind, `${p.path} has something mounted in it, so it is not removed`, {
        notes: p.mounts.map((mount) => `mounted: ${mount}`),
        help: "stop what uses it, `umount` what is left, then try again",
      });
    case "fork-step-failed":
      return problem(p.kind, `could not ${p.step}`, {
        notes: [`command: ${p.argv.join(" ")}`, ...lastLines(p.output).map((line) => `said: ${line}`)],
        help: "see whether the disk is full (`df -h`) or damaged (`dmesg`); the next try begins anew",
      });
    default:
      return p satisfies never;
  }
}

/** Said aloud where a file system can only copy. Pure. */
export function plainCopyWarning(folder: string, fileSystem: string): Diagnostic {
  return warning(
    "fork-plain-copy",
    `${folder} lies on ${fileSystem}, which can't share blocks between files`,
    {
      notes: ["each guest is a whole copy of its image: slower to start, and as large again"],
      help: "put /var/lib/local on btrfs (best), xfs, bcachefs or zfs",
    },
  );
}

function lastLines(output: string): readonly string[] {
  return output
    .split("\n")
    .filter((line) => line.trim() !== "")
    .slice(-5);
}
