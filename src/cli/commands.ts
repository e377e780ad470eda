/**
 * The table of commands: one source for parsing, help and completion. Data only; must load nothing, because every
 * start of labctl loads it.
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

export interface CommandSpec {
  readonly name: string;
  /** As help shows it, e.g. `<machine…>`. */
  readonly args: string;
  readonly summary: string;
  readonly options: readonly OptionSpec[];
  /**
   * `dashes`: what follows `--` is a command, and no argument of ours. `first`: everything after the first argument is,
   * options too. Undefined: the command takes no such thing.
   */
  readonly trailing?: "dashes" | "first";
  /** At least and at most so many arguments. */
  readonly arity: readonly [number, number];
  readonly load: () => Promise<{ run: CommandRun }>;
}

export interface ParsedArguments {
  readonly positionals: readonly string[];
  /** The words of a trailing command; undefined: none was begun. */
  readonly trailing: readonly string[] | undefined;
  flag(name: string): boolean;
  value(name: string): string | undefined;
  list(name: string): readonly string[];
}

/** Returns the exit code. */
export type CommandRun = (args: ParsedArguments) => Promise<number>;

const json: OptionSpec = { name: "json", kind: "flag", help: "one JSON document on standard output" };
const quiet: OptionSpec = { name: "quiet", short: "q", kind: "flag", help: "print problems only" };
const fact: OptionSpec = {
  name: "fact",
  kind: "list",
  placeholder: "K=V",
  help: "set a fact for this run, above all files",
};
const acceptNew: OptionSpec = {
  name: "accept-new",
  kind: "flag",
  help: "accept and remember a host key that is not known yet; a changed one is refused all the same",
};
const sshConfig: OptionSpec = {
  name: "ssh-config",
  kind: "value",
  placeholder: "FILE",
  help: "use this instead of ~/.ssh/config",
};
const timeout: OptionSpec = {
  name: "timeout",
  kind: "value",
  placeholder: "SECONDS",
  help: "give up on connecting after so long (default 10)",
};
const takeOver: OptionSpec = {
  name: "take-over",
  kind: "flag",
  help: "replace files on the machine that labctl did not make, and another machine's tree",
};
const output: OptionSpec = {
  name: "output",
  short: "o",
  kind: "value",
  placeholder: "FILE",
  help: "save the plan for `push --plan FILE`",
};
const prunePackages: OptionSpec = {
  name: "prune-packages",
  kind: "flag",
  help: "remove the packages that labctl itself installed and no layer asks for any longer",
};
const noConfirm: OptionSpec = {
  name: "no-confirm",
  kind: "flag",
  help: "do not arm the timer that undoes everything unless a fresh connection confirms",
};
const confirmSeconds: OptionSpec = {
  name: "confirm-seconds",
  kind: "value",
  placeholder: "N",
  help: "a machine that can't be reached afresh takes the change back after so long (default 60)",
};
const dryRun: OptionSpec = {
  name: "dry-run",
  short: "n",
  kind: "flag",
  help: "say what would happen, and stop",
};
const jobs: OptionSpec = {
  name: "jobs",
  short: "j",
  kind: "value",
  placeholder: "N",
  help: "so many machines at once (default 25)",
};
const limit: OptionSpec = {
  name: "limit",
  short: "l",
  kind: "list",
  placeholder: "PATTERN",
  help: "of the machines named, or of all, only those that match; `!PATTERN`: not those",
};
const message: OptionSpec = {
  name: "message",
  short: "m",
  kind: "value",
  placeholder: "TEXT",
  help: "why, kept with the generation",
};
const diff: OptionSpec = {
  name: "diff",
  short: "D",
  kind: "flag",
  help: "show contents of changed files against what the machine really has; secrets as hashes",
};
const sshClient: OptionSpec = {
  name: "ssh",
  kind: "value",
  placeholder: "CLIENT",
  help: "builtin or openssh: what opens connections (default: machine.ini's, else builtin)",
};
const remote: readonly OptionSpec[] = [acceptNew, sshConfig, sshClient, timeout];

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

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: "build",
    args: "[machine…]",
    summary: "build the tree of every machine, or of those named",
    arity: [0, Number.POSITIVE_INFINITY],
    options: [
      { name: "explain", kind: "flag", help: "print each step with its reason" },
      { name: "stats", kind: "flag", help: "print phases with their times and counts" },
      { name: "rebuild", short: "B", kind: "flag", help: "build from nothing" },
      { name: "watch", short: "w", kind: "flag", help: "go on building on every edit" },
      dryRun,
      fact,
      json,
      quiet,
    ],
    load: () => import("./build.ts"),
  },
  {
    name: "plan",
    args: "<machine…>",
    summary: "say what a push would do, and why; exit 0: nothing, 2: changes",
    arity: [1, Number.POSITIVE_INFINITY],
    options: [limit, diff, takeOver, prunePackages, output, fact, ...remote, json, quiet],
    load: () => import("./plan.ts"),
  },
  {
    name: "push",
    args: "<machine…>",
    summary: "build, send the difference, and reload or restart exactly what differs",
    arity: [0, Number.POSITIVE_INFINITY],
    options: [
      {
        name: "plan",
        kind: "value",
        placeholder: "FILE",
        help: "do exactly what `plan -o FILE` saved; refused if the machine or the build changed since",
      },
      jobs,
      limit,
      {
        name: "wave",
        kind: "value",
        placeholder: "N[,N…]",
        help: "so many machines, then check them, then the next; `1,5,rest`, `25%`; a failed wave is taken back",
      },
      {
        name: "max-failures",
        kind: "value",
        placeholder: "N",
        help: "begin nothing more once N machines failed (default 1 with --wave, else never)",
      },
      {
        name: "wave-pause",
        kind: "value",
        placeholder: "SECONDS",
        help: "wait between a wave and its check",
      },
      takeOver,
      prunePackages,
      noConfirm,
      confirmSeconds,
      message,
      diff,
      dryRun,
      fact,
      ...remote,
      json,
      quiet,
    ],
    load: () => import("./push.ts"),
  },
  {
    name: "rollback",
    args: "<machine> [n]",
    summary: "bring back the previous generation, or generation n",
    arity: [1, 2],
    options: [noConfirm, confirmSeconds, diff, dryRun, message, ...remote, json, quiet],
    load: () => import("./rollback.ts"),
  },
  {
    name: "generations",
    args: "<machine>",
    summary: "list a machine's generations: number, id, time, commit, author",
    arity: [1, 1],
    options: [...remote, json],
    load: () => import("./generations.ts"),
  },
  {
    name: "exec",
    args: "<machine…> -- <command…>",
    summary: "run a command on machines at once; each line of output has its machine's name",
    trailing: "dashes",
    arity: [1, Number.POSITIVE_INFINITY],
    options: [
      jobs,
      limit,
      acceptNew,
      sshConfig,
      sshClient,
      {
        name: "timeout",
        kind: "value",
        placeholder: "SECONDS",
        help: "give up on connecting, or on the command, after so long (default: 10, and no limit)",
      },
      dryRun,
      json,
      quiet,
    ],
    load: () => import("./exec.ts"),
  },
  {
    name: "ssh",
    args: "<machine> [command…]",
    summary: "open a shell on a machine by the system's ssh, or have it run a command; ends as ssh does",
    trailing: "first",
    arity: [1, 1],
    options: [
      { name: "tty", short: "t", kind: "flag", help: "a terminal there although a command is given" },
      acceptNew,
      sshConfig,
      timeout,
    ],
    load: () => import("./ssh.ts"),
  },
  {
    name: "watch",
    args: "<machine…>",
    summary: "build and push on every edit, over a connection that stays open",
    arity: [1, Number.POSITIVE_INFINITY],
    options: [noConfirm, confirmSeconds, fact, ...remote, quiet],
    load: () => import("./watch.ts"),
  },
  {
    name: "verify",
    args: "[machine…]",
    summary:
      "check the built trees offline: units, scripts, nginx, nftables, sshd, JSON; --live: drift on the machines",
    arity: [0, Number.POSITIVE_INFINITY],
    options: [
      { name: "live", kind: "flag", help: "compare machines with what was pushed to them; exit 2: drift" },
      fact,
      ...remote,
      json,
      quiet,
    ],
    load: () => import("./verify.ts"),
  },
  {
    name: "adopt",
    args: "<machine> <path>",
    summary: "fold an edit of a file on a machine back into the layer or machine folder that it came from",
    arity: [2, 2],
    options: [
      {
        name: "into",
        kind: "value",
        placeholder: "WHERE",
        help: "take a file that is not built yet into `machine` or a layer of that name",
      },
      { name: "yes", short: "y", kind: "flag", help: "do not ask" },
      dryRun,
      ...remote,
      json,
      quiet,
    ],
    load: () => import("./adopt/adopt.ts"),
  },
  {
    name: "why",
    args: "<machine> <path>",
    summary: "say where a path comes from: layer, source, commit, template line, facts, units; offline",
    arity: [2, 2],
    options: [fact, json],
    load: () => import("./why.ts"),
  },
  {
    name: "impact",
    args: "K=V [machine…]",
    summary: "list the machines, files and units that this value of a fact would change; offline",
    arity: [1, Number.POSITIVE_INFINITY],
    options: [fact, json],
    load: () => import("./impact.ts"),
  },
  {
    name: "graph",
    args: "<machine>",
    summary: "draw how layers, files and units hang together, as SVG or DOT on standard output; offline",
    arity: [1, 1],
    options: [{ name: "dot", kind: "flag", help: "DOT for Graphviz instead of SVG" }, fact, json],
    load: () => import("./graph.ts"),
  },
  {
    name: "facts",
    args: "show <machine> | origin <fact> [machine…] | probe <machine…>",
    summary: "show a machine's facts, say where one comes from, or ask the machine what it is",
    arity: [1, Number.POSITIVE_INFINITY],
    options: [fact, ...remote, dryRun, json],
    load: () => import("./facts.ts"),
  },
  {
    name: "ip",
    args: "plan | show [machine…] | check",
    summary:
      "say which addresses networks have and would get (plan: exit 2: changes), or what is wrong with them",
    arity: [1, Number.POSITIVE_INFINITY],
    options: [
      { name: "write", kind: "flag", help: "plan: keep the plan in facts/ipam.json" },
      fact,
      dryRun,
      json,
      quiet,
    ],
    load: () => import("./ip/ip.ts"),
  },
  {
    name: "wireguard",
    args: "add|remove <client> <machine> | list",
    summary: "let devices on the road connect to a machine that has the layer wireguard; push carries it out",
    arity: [1, 3],
    options: [{ name: "qr", kind: "flag", help: "add: as a QR code too" }, fact, dryRun, json],
    load: () => import("./wireguard.ts"),
  },
  {
    name: "secret",
    args: "init | add|edit|rotate|show|readers <secret> | list | rekey",
    summary: "keep secrets encrypted in the repository, and say who can read them; push delivers them",
    arity: [1, 2],
    options: [
      {
        name: "generate",
        kind: "flag",
        help: "add, rotate: make a random value, 32 bytes as 43 letters, digits, `-` and `_`",
      },
      dryRun,
      fact,
      json,
    ],
    load: () => import("./secret/secret.ts"),
  },
];
