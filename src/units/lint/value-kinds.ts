/**
 * What a key's value must look like, by kind. Each kind answers undefined for a value that systemd takes, else a phrase
 * that says what is expected. Sources: systemd.syntax(7), systemd.time(7), systemd.exec(5), systemd.kill(5) and the
 * config_parse_* functions behind them. Doubtful values pass: a false finding costs more than a missed one. Pure.
 */
import { splitWords } from "../quoted-words.ts";
import { isUnitName } from "../unit-name.ts";
import { CAPABILITIES, ENUMS, isSignal, SYSCALL_GROUPS } from "./value-names.ts";

/** A phrase such as `a boolean: yes or no`, with the nearest names to choose from where there are any. */
export interface ValueFault {
  readonly expected: string;
  /** The part of the value that is wrong; the whole value where it is not a list. */
  readonly found: string;
  /** Empty: there are too many to list. */
  readonly names: readonly string[];
}

type Check = (value: string) => ValueFault | undefined;

const BOOLEAN = /^(1|yes|y|true|t|on|0|no|n|false|f|off)$/i;
const SPAN_PART =
  /^\s*[0-9]+(\.[0-9]*)?\s*(nsec|ns|usec|us|µs|μs|msec|ms|seconds|second|sec|s|minutes|minute|min|months|month|M|m|hours|hour|hr|h|days|day|d|weeks|week|w|years|year|y|)(?=$|\s|[0-9])/;

const isBoolean = (value: string): boolean => BOOLEAN.test(value);

/** A time span of systemd.time(7), without `infinity`. */
function isSpan(value: string): boolean {
  let rest = value;
  do {
    const part = SPAN_PART.exec(rest)?.[0];
    if (part === undefined) return false;
    rest = rest.slice(part.length);
  } while (rest.trim() !== "");
  return true;
}

const isBytes = (value: string): boolean => /^[0-9]+(\.[0-9]+)?\s*[KMGTPE]?(i?B)?$/.test(value);

/** Refuses what `accepts` does not; a value with a specifier is only known on the machine. */
function plain(expected: string, accepts: (value: string) => boolean, names: readonly string[] = []): Check {
  return (value) => (value.includes("%") || accepts(value) ? undefined : { expected, found: value, names });
}

/** The same for each word of a list. */
function words(expected: string, accepts: (word: string) => boolean, names: readonly string[] = []): Check {
  return (value) => {
    for (const word of splitWords(value, "keep"))
      if (!word.includes("%") && !accepts(word)) return { expected, found: word, names };
    return undefined;
  };
}

const absolute = (path: string): boolean => path.startsWith("/");
/** Path lists take `-` (may be absent) and `+` (below RootDirectory=) in front. */
const listedPath = (word: string): boolean => absolute(word.replace(/^[-+]{1,2}/, ""));
const between =
  (least: number, most: number) =>
  (value: string): boolean =>
    /^[-+]?[0-9]+$/.test(value) && Number(value) >= least && Number(value) <= most;
const percent = (value: string): boolean => /^[0-9]+(\.[0-9]{1,2})?(%|‰|‱)$/.test(value);

function limit(value: string): boolean {
  const parts = value.split(":");
  const number = (p: string): boolean =>
    p === "infinity" || /^[-+]?[0-9]+(\.[0-9]+)?\s*[KMGTPE]?$/.test(p) || isSpan(p);
  return parts.length <= 2 && parts.every(number);
}

function execLine(value: string): ValueFault | undefined {
  const program = (splitWords(value, "decode")[0] ?? "").replace(/^[@\-:+!|]+/, "");
  if (program === "" || program.startsWith("%") || absolute(program)) return undefined;
  // Since systemd 239 a bare name is looked up in a fixed path.
  if (!program.includes("/")) return undefined;
  return { expected: "an absolute path, or a bare name", found: program, names: [] };
}

function listenAddress(value: string): boolean {
  if (absolute(value) || value.startsWith("@")) return true;
  if (/^vsock:/.test(value)) return true;
  const port = /^(?:.*:)?([0-9]+)$/.exec(value)?.[1];
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65535;
}

/** Only the shape: weekday, date, time, or a word such as `daily`. `systemd-analyze` knows the rest. */
function calendar(value: string): boolean {
  return /^(minutely|hourly|daily|monthly|weekly|yearly|annually|quarterly|semiannually)(\s+\S+)?$/i.test(
    value,
  )
    ? true
    : /[-:*@]|^(mon|tue|wed|thu|fri|sat|sun)/i.test(value) &&
        !/[^A-Za-z0-9\s*,./:~@_+-]/.test(value) &&
        value.split(/\s+/).every((word) => /[0-9*:]/.test(word) || DAYS_OR_ZONE.test(word));
}
const DAYS_OR_ZONE =
  /^((mon|tue|wed|thu|fri|sat|sun)[a-z]*((\.\.|,|-)(mon|tue|wed|thu|fri|sat|sun)[a-z]*)*,?|utc|[A-Z][A-Za-z_]+\/[A-Za-z_/-]+|[A-Z]{3,5})$/i;

function syscall(word: string): boolean {
  const name = word.replace(/^~/, "").split(":")[0] ?? "";
  return name.startsWith("@") ? SYSCALL_GROUPS.includes(name) : /^[a-z_0-9]*$/i.test(name);
}

const CONDITION_BOOLEAN = /^(Condition|Assert)(FirstBoot|ACPower)$/;
const CONDITION_PATH = /^(Condition|Assert)(Path|Directory|File)[A-Za-z]*$/;

/** Conditions share one kind; what their value is follows from the name. */
function condition(key: string, value: string): ValueFault | undefined {
  const text = value.replace(/^\|?\s*!?\s*/, "");
  if (text === "" || text.includes("%")) return undefined;
  if (CONDITION_BOOLEAN.test(key) && !isBoolean(text)) return { expected: A_BOOLEAN, found: text, names: [] };
  if (CONDITION_PATH.test(key) && !absolute(text))
    return { expected: AN_ABSOLUTE_PATH, found: text, names: [] };
  return undefined;
}

const A_BOOLEAN = "a boolean: yes or no";
const AN_ABSOLUTE_PATH = "an absolute path";
const A_SPAN = "a time span such as 90s, 5min or 1h 30min";

const CHECKS: Readonly<Record<string, Check>> = {
  boolean: plain(A_BOOLEAN, isBoolean),
  span: plain(A_SPAN, (v) => v === "infinity" || isSpan(v)),
  mode: plain("an octal mode such as 0750", (v) => /^[0-7]{1,5}$/.test(v)),
  unsigned: plain("a whole number", (v) => /^[0-9]+$|^infinity$/.test(v)),
  integer: plain("a whole number", (v) => /^[-+]?[0-9]+$/.test(v)),
  nice: plain("a number from -20 to 19", between(-20, 19)),
  "oom-score": plain("a number from -1000 to 1000", between(-1000, 1000)),
  weight: plain("a number from 1 to 10000", (v) => v === "idle" || between(1, 10000)(v)),
  "io-priority": plain("a number from 0 to 7", between(0, 7)),
  size: plain("a size such as 64K or 2G", isBytes),
  memory: plain("a size such as 512M, a percentage, or infinity", (v) => v === "infinity" || isBytes(v)),
  tasks: plain("a number, a percentage, or infinity", (v) => v === "infinity" || /^[0-9]+$/.test(v)),
  // plain() lets whatever holds a % pass, so these refuse only values without one.
  quota: plain("a percentage such as 50%", percent),
  limit: plain("one limit, or two with a colon between: 1024, 64M, infinity", limit),
  signal: plain("a signal such as SIGTERM", isSignal),
  path: plain(AN_ABSOLUTE_PATH, (v) => absolute(v) || v.startsWith("-/") || v === "~"),
  "working-directory": plain("an absolute path or ~", (v) => /^-?(\/|~$)/.test(v)),
  paths: words(AN_ABSOLUTE_PATH, listedPath),
  binds: words("absolute paths, SOURCE or SOURCE:DESTINATION", listedPath),
  "environment-file": plain(AN_ABSOLUTE_PATH, (v) => absolute(v.replace(/^-/, ""))),
  folders: words("a relative path without `..`", (w) => !absolute(w) && !/(^|\/)\.\.(\/|:|$)/.test(w)),
  unit: plain("a unit's name with its suffix", isUnitName),
  units: words("unit names with their suffixes", isUnitName),
  exec: execLine,
  environ: words("NAME=VALUE", (w) => /^[A-Za-z_][A-Za-z0-9_]*=/.test(w) || /^["']/.test(w)),
  listen: plain("a path, a port from 1 to 65535, or ADDRESS:PORT", listenAddress),
  calendar: plain("a calendar expression such as `daily` or `Mon *-*-* 03:00:00`", calendar),
  capabilities: words(
    "capability names",
    (w) => {
      const name = w.replace(/^~/, "").toUpperCase();
      return name === "" || /^[0-9]+$/.test(name) || CAPABILITIES.includes(name);
    },
    CAPABILITIES,
  ),
  families: words("address families", (w) => /^~?(AF_[A-Z0-9]+|none)?$/.test(w)),
  syscalls: words("system calls or @groups", syscall, SYSCALL_GROUPS),
};

/**
 * What is wrong with a value of `key`, whose kind the key table gives (`boolean`, `enum:Restart`, `free`). An empty
 * value resets the key and is right for every kind. Pure.
 */
export function valueFault(kind: string, key: string, value: string): ValueFault | undefined {
  if (value === "" || kind === "free") return undefined;
  if (kind === "condition") return condition(key, value);
  if (kind.startsWith("enum:")) {
    const { names, orBoolean } = ENUMS[kind.slice(5)] ?? { names: [], orBoolean: false };
    if (value.includes("%") || names.includes(value) || (orBoolean && isBoolean(value))) return undefined;
    const all = orBoolean ? ["yes", "no", ...names] : names;
    return { expected: `one of ${all.join(", ")}`, found: value, names: all };
  }
  return CHECKS[kind]?.(value);
}
