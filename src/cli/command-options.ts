/**
 * Options that several commands have, each once, so that it is called and explained alike everywhere. Data only; must load
 * nothing, because every start of labctl loads it.
 */

export interface OptionSpec {
  readonly name: string;
  readonly short?: string;
  /** `flag` takes no value; `list` may be given several times. */
  readonly kind: "flag" | "value" | "list";
  /** Placeholder in help, for `value` and `list`. */
  readonly placeholder?: string;
  readonly help: string;
}

export const json: OptionSpec = { name: "json", kind: "flag", help: "one JSON document on standard output" };
export const quiet: OptionSpec = { name: "quiet", short: "q", kind: "flag", help: "print problems only" };
export const fact: OptionSpec = {
  name: "fact",
  kind: "list",
  placeholder: "K=V",
  help: "set a fact for this run, above all files",
};
export const acceptNew: OptionSpec = {
  name: "accept-new",
  kind: "flag",
  help: "accept and remember a host key that is not known yet; a changed one is refused all the same",
};
export const sshConfig: OptionSpec = {
  name: "ssh-config",
  kind: "value",
  placeholder: "FILE",
  help: "use this instead of ~/.ssh/config",
};
export const timeout: OptionSpec = {
  name: "timeout",
  kind: "value",
  placeholder: "SECONDS",
  help: "give up on connecting after so long (default 10)",
};
export const takeOver: OptionSpec = {
  name: "take-over",
  kind: "flag",
  help: "replace files on the machine that labctl did not make, and another machine's tree",
};
export const output: OptionSpec = {
  name: "output",
  short: "o",
  kind: "value",
  placeholder: "FILE",
  help: "save the plan for `push --plan FILE`",
};
export const prunePackages: OptionSpec = {
  name: "prune-packages",
  kind: "flag",
  help: "remove the packages that labctl itself installed and no layer asks for any longer",
};
export const noConfirm: OptionSpec = {
  name: "no-confirm",
  kind: "flag",
  help: "do not arm the timer that undoes everything unless a fresh connection confirms",
};
export const confirmSeconds: OptionSpec = {
  name: "confirm-seconds",
  kind: "value",
  placeholder: "N",
  help: "a machine that can't be reached afresh takes the change back after so long (default 60)",
};
export const dryRun: OptionSpec = {
  name: "dry-run",
  short: "n",
  kind: "flag",
  help: "say what would happen, and stop",
};
export const jobs: OptionSpec = {
  name: "jobs",
  short: "j",
  kind: "value",
  placeholder: "N",
  help: "so many machines at once (default 25)",
};
export const limit: OptionSpec = {
  name: "limit",
  short: "l",
  kind: "list",
  placeholder: "PATTERN",
  help: "of the machines named, or of all, only those that match; `!PATTERN`: not those",
};
export const message: OptionSpec = {
  name: "message",
  short: "m",
  kind: "value",
  placeholder: "TEXT",
  help: "why, kept with the generation",
};
export const diff: OptionSpec = {
  name: "diff",
  short: "D",
  kind: "flag",
  help: "show contents of changed files against what the machine really has; secrets as hashes",
};
export const sshClient: OptionSpec = {
  name: "ssh",
  kind: "value",
  placeholder: "CLIENT",
  help: "builtin or openssh: what opens connections (default: machine.ini's, else builtin)",
};
export const remote: readonly OptionSpec[] = [acceptNew, sshConfig, sshClient, timeout];

/** Options that every command takes. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    name: "directory",
    short: "C",
    kind: "value",
    placeholder: "DIR",
    help: "start looking for lab.ini in DIR",
  },
  { name: "help", short: "h", kind: "flag", help: "show help" },
  { name: "debug", kind: "flag", help: "show the stack of an internal error" },
];
