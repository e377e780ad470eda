/** What can go wrong while files are sent, and its wording. Pure; must not know how rsync is run. */
import { type Diagnostic, problem } from "../../diagnostics.ts";
import { shellWord } from "../shell-word.ts";

/** `label` is the transport's; `folder` the remote destination. */
export type RsyncProblem =
  | { readonly kind: "missing-here" }
  | { readonly kind: "missing-there"; readonly label: string }
  | { readonly kind: "sudo"; readonly label: string; readonly detail: string }
  | { readonly kind: "disk-full"; readonly label: string; readonly folder: string }
  | {
      readonly kind: "not-writable";
      readonly label: string;
      readonly folder: string;
      readonly detail: string;
    }
  | { readonly kind: "file-name"; readonly path: string }
  | {
      readonly kind: "failed";
      readonly label: string;
      readonly folder: string;
      /** Exit status of rsync here and there; null: none. */
      readonly statuses: readonly [number | null, number | null];
      readonly output: readonly string[];
    };

const NOTHING_LIVE = "nothing live was changed; what was staged so far is overwritten next time";
/** More lines than this of a program's error output help nobody. */
const MAX_OUTPUT_LINES = 12;

/** Words a problem. Pure. */
export function describeRsyncProblem(p: RsyncProblem): Diagnostic {
  switch (p.kind) {
    case "missing-here":
      return problem("rsync-missing", "the program `rsync` is not installed here", {
        notes: ["it sends the files, on this side and on the machine's"],
        help: "install the package rsync",
      });
    case "missing-there":
      return problem("rsync-missing", `the program \`rsync\` is not installed on ${p.label}`, {
        notes: ["it receives the files there", "nothing live was changed"],
        help: "run `apt-get install rsync` on the machine",
      });
    case "sudo":
      return problem("rsync-sudo", `sudo on ${p.label} does not run rsync without a password`, {
        notes: [p.detail, "nothing live was changed"],
        help: "allow the user sudo with NOPASSWD, or connect as root",
      });
    case "disk-full":
      return problem("disk-full", `no space is left on ${p.label} under ${p.folder}`, {
        notes: [NOTHING_LIVE],
        help: `free space on the file system of ${p.folder} (\`df -h ${shellWord(p.folder)}\`), then run the same command again`,
      });
    case "not-writable":
      return problem("rsync-not-writable", `${p.folder} on ${p.label} can't be written`, {
        notes: [p.detail, NOTHING_LIVE],
        help: "check the folder's owner, a read-only mount, and whether the login needs sudo",
      });
    case "file-name":
      return problem("rsync-file-name", `\`${p.path}\` can't be sent`, {
        notes: [
          "a path is relative, without `..` and without control characters",
          "nothing was sent to the machine",
        ],
        help: "report this: the build should have refused the path",
      });
    case "failed":
      return problem("rsync-failed", `sending files to ${p.label} failed`, {
        notes: [
          `rsync ended with ${p.statuses[0] ?? "no status"} here and ${p.statuses[1] ?? "no status"} on the machine, writing to ${p.folder}`,
          ...p.output.slice(0, MAX_OUTPUT_LINES),
          NOTHING_LIVE,
        ],
        help: p.output.some((line) => line.includes("is your shell clean"))
          ? "the login shell there prints something at its start, which breaks rsync: let ~/.bashrc and the like print on terminals only, then run the same command again"
          : "the lines above are rsync's own; run the same command again once their cause is gone",
      });
  }
}
