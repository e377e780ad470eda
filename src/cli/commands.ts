/**
 * The table of commands: one source for parsing, help and completion. Data only; must load nothing, because every
 * start of labctl loads it.
 */
import {
  acceptNew,
  confirmSeconds,
  diff,
  dryRun,
  fact,
  jobs,
  json,
  limit,
  message,
  noConfirm,
  type OptionSpec,
  output,
  prunePackages,
  quiet,
  remote,
  sshClient,
  sshConfig,
  takeOver,
  timeout,
} from "./command-options.ts";

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

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: "init",
    args: "[dir]",
    summary: "begin a repository with one machine that builds; overwrites nothing",
    arity: [0, 1],
    options: [
      { name: "machine", kind: "value", placeholder: "NAME", help: "the machine's name (default den)" },
      { name: "host", kind: "value", placeholder: "HOST", help: "where ssh finds it (default NAME.lan)" },
      dryRun,
      json,
    ],
    load: () => import("./init/init.ts"),
  },
  {
    name: "doctor",
    args: "",
    summary: "say what of this host and repository is not as it should be, each with the next step",
    arity: [0, 0],
    options: [json, quiet],
    load: () => import("./doctor/doctor.ts"),
  },
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
    options: [jobs, limit, diff, takeOver, prunePackages, output, fact, ...remote, json, quiet],
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
    name: "guest",
    args: "start|stop|enable|disable|pin|unpin|rm|list|shell|console|screenshot|logs <machine> [guest] [file.png] [-- command…]",
    summary: "run containers and virtual machines on a machine that has the layer guests",
    trailing: "dashes",
    arity: [2, 4],
    options: [
      { name: "image", kind: "value", placeholder: "NAME", help: "start: make the guest from this image" },
      {
        name: "network",
        kind: "value",
        placeholder: "NAME",
        help: "start: a network of the machine, declared or not (default `guests`), or `none`",
      },
      { name: "kind", kind: "value", placeholder: "KIND", help: "start: container (default) or vm" },
      { name: "ephemeral", kind: "flag", help: "start: what is in it ends when it stops" },
      { name: "pinned", kind: "flag", help: "start: it can't be removed until `guest unpin`" },
      {
        name: "key",
        kind: "list",
        placeholder: "FILE",
        help: "start: a public key that may log in as its root",
      },
      { name: "stats", kind: "flag", help: "start: say what took how long" },
      { name: "follow", short: "f", kind: "flag", help: "logs: go on as it comes" },
      { name: "lines", kind: "value", placeholder: "N", help: "logs: so many lines (default 100)" },
      dryRun,
      ...remote,
      json,
      quiet,
    ],
    load: () => import("./guest/guest.ts"),
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
    name: "twin",
    args: "<machine> [-- <command…>]",
    summary:
      "boot a disposable copy of a machine from its build, and run its checks or a command in it; root",
    trailing: "dashes",
    arity: [1, 1],
    options: [
      { name: "check", kind: "flag", help: "run all checks (the default where nothing else is asked for)" },
      { name: "shell", kind: "flag", help: "open a shell in it" },
      {
        name: "package",
        kind: "list",
        placeholder: "NAME",
        help: "have this Debian package in it, too, besides those of its layers",
      },
      {
        name: "bind",
        kind: "list",
        placeholder: "FROM:TO",
        help: "let it see a file or folder of this host, read-only, as for images of its guests",
      },
      { name: "keep", kind: "flag", help: "keep it until Ctrl-C, and say how ssh and labctl reach it" },
      { name: "stats", kind: "flag", help: "print phases with their times" },
      dryRun,
      fact,
      json,
      quiet,
    ],
    load: () => import("./twin/twin.ts"),
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
    args: "[machine…]",
    summary: "draw a machine's layers, files and units, or the fleet's network, as SVG or DOT; offline",
    arity: [0, Number.POSITIVE_INFINITY],
    options: [
      {
        name: "network",
        kind: "flag",
        help: "draw links, prefixes and names of all machines, or of those named",
      },
      { name: "dot", kind: "flag", help: "DOT for Graphviz instead of SVG" },
      fact,
      json,
    ],
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
  {
    name: "completion",
    args: "bash | zsh | fish",
    summary: "print what makes the shell complete commands, options and names of machines",
    trailing: "dashes",
    arity: [1, 2],
    options: [],
    load: () => import("./completion.ts"),
  },
];
