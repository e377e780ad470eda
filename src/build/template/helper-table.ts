/**
 * The helpers that templates know. Each is a pure function of plain values: proxies are unwrapped before it runs.
 * Must not know Handlebars' options object.
 */
import {
  type Cidr,
  containsCidr,
  formatAddress,
  formatCidr,
  hostOf,
  netmaskOf,
  networkOf,
  parseAddress,
  parseCidr,
  subnetOf,
} from "../../ipam/cidr.ts";
import {
  guestId,
  isSubnet,
  type MachineId,
  parseMachineId,
  ulaAddress,
  ulaPrefix,
  ulaSubnet,
} from "../../ipam/ula.ts";
import { escapeName, escapePath } from "../../units/unit-escape.ts";
import { canonicalJson } from "./scope.ts";

/** Thrown by a helper for a wrong argument; `render.ts` adds the place. */
export class HelperFault extends Error {}

/** Arguments as written, then the `name=value` ones. An absent first argument is `undefined` where the helper allows it. */
export type Helper = (args: readonly unknown[], named: Readonly<Record<string, unknown>>) => unknown;

/** Ways in which text is escaped for where it goes. */
const escapes = {
  /** One word for a POSIX shell, always in single quotes. */
  shellQuote: (text: string): string => `'${text.replaceAll("'", "'\\''")}'`,
  /** A value for systemd's `EnvironmentFile=`: double quotes, with backslash, quote, dollar and backtick escaped (systemd.exec(5)). */
  envQuote: (text: string): string => `"${text.replace(/[\\"$`]/g, "\\$&")}"`,
  /** One argument in `ExecStart=`: quotes, backslash and control characters as C escapes, `%` and `$` doubled (systemd.service(5)). */
  execQuote: (text: string): string =>
    `"${text.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n").replaceAll("\t", "\\t").replaceAll("%", "%%").replaceAll("$", "$$$$")}"`,
};

/** A path that `systemd-escape --path` refuses is refused here, too. */
function escapedPath(path: string): string {
  const escaped = escapePath(path);
  if (escaped === undefined)
    throw new HelperFault(`\`systemd-escape-path\` takes no path with \`..\` in it: \`${path}\``);
  return escaped;
}

function text(value: unknown, helper: string): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  throw new HelperFault(`\`${helper}\` wants text, not ${kindOf(value)}`);
}

function list(value: unknown, helper: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new HelperFault(`\`${helper}\` wants a list, not ${kindOf(value)}`);
}

/** A phrase for messages. Pure. */
export function kindOf(value: unknown): string {
  if (value === undefined) return "an unset value";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** All helpers but the ones that are Handlebars' own. `b3` gives 64 hex digits of a text's BLAKE3. Pure. */
export function helperTable(b3: (text: string) => string): Readonly<Record<string, Helper>> {
  const one =
    (name: string, f: (value: string) => string): Helper =>
    ([value]) =>
      f(text(value, name));
  return {
    default: ([value, fallback]) => (value === undefined || value === null ? fallback : value),
    isSet: ([value]) => value !== undefined && value !== null,
    required: ([value, message]) => {
      if (value === undefined || value === null || value === "")
        throw new HelperFault(text(message ?? "a required value is unset", "required"));
      return value;
    },
    join: ([value, separator]) =>
      list(value, "join")
        .map((v) => text(v, "join"))
        .join(separator === undefined ? "," : text(separator, "join")),
    split: ([value, separator]) =>
      separator === undefined
        ? text(value, "split")
            .split(/[\s,]+/)
            .filter((part) => part !== "")
        : text(value, "split").split(text(separator, "split")),
    json: ([value], named) =>
      JSON.stringify(
        JSON.parse(canonicalJson(value)),
        null,
        typeof named.indent === "number" ? named.indent : undefined,
      ),
    ini: ([value]) => {
      if (value === null || typeof value !== "object" || Array.isArray(value))
        throw new HelperFault(`\`ini\` wants an object, not ${kindOf(value)}`);
      return Object.entries(value)
        .flatMap(([k, v]) => (Array.isArray(v) ? v : [v]).map((item) => `${k}=${text(item, "ini")}`))
        .join("\n");
    },
    lower: one("lower", (v) => v.toLowerCase()),
    upper: one("upper", (v) => v.toUpperCase()),
    trim: one("trim", (v) => v.trim()),
    replace: ([value, from, to]) =>
      text(value, "replace").replaceAll(text(from, "replace"), text(to, "replace")),
    indent: ([value, width]) => {
      if (typeof width !== "number")
        throw new HelperFault("`indent` wants the number of blanks as its second argument");
      return text(value, "indent").replace(/^(?=.)/gm, " ".repeat(width));
    },
    "env-quote": one("env-quote", escapes.envQuote),
    "shell-quote": one("shell-quote", escapes.shellQuote),
    "exec-quote": one("exec-quote", escapes.execQuote),
    "systemd-escape": one("systemd-escape", escapeName),
    "systemd-escape-path": one("systemd-escape-path", escapedPath),
    b3: ([value, digits]) => b3(text(value, "b3")).slice(0, typeof digits === "number" ? digits : 64),
    eq: ([a, b]) => a === b || (typeof a !== "object" && typeof b !== "object" && String(a) === String(b)),
    ne: ([a, b]) => !(a === b || (typeof a !== "object" && typeof b !== "object" && String(a) === String(b))),
    and: (args) => args.every(Boolean),
    or: (args) => args.find(Boolean) ?? args.at(-1),
    not: ([a]) => !a,
    add: ([a, b]) => number(a, "add") + number(b, "add"),
    "cidr-host": ([prefix, n]) => {
      const address = hostOf(cidr(prefix, "cidr-host"), whole(n, "cidr-host"));
      if (!address) throw new HelperFault(`${text(prefix, "cidr-host")} has no address number ${String(n)}`);
      return formatAddress(address);
    },
    "cidr-subnet": ([prefix, length, n]) => {
      const subnet = subnetOf(
        cidr(prefix, "cidr-subnet"),
        number(length, "cidr-subnet"),
        whole(n, "cidr-subnet"),
      );
      if (!subnet)
        throw new HelperFault(`${text(prefix, "cidr-subnet")} has no /${String(length)} number ${String(n)}`);
      return formatCidr(subnet);
    },
    "cidr-network": ([prefix]) => formatCidr(networkOf(cidr(prefix, "cidr-network"))),
    "cidr-address": ([prefix]) => formatAddress(cidr(prefix, "cidr-address").address),
    "cidr-length": ([prefix]) => cidr(prefix, "cidr-length").length,
    "cidr-netmask": ([prefix]) => formatAddress(netmaskOf(cidr(prefix, "cidr-netmask"))),
    "cidr-contains": ([outer, inner]) => {
      const address = parseAddress(text(inner, "cidr-contains"));
      const single = address && { address, length: address.family === 4 ? 32 : 128 };
      return containsCidr(cidr(outer, "cidr-contains"), single ?? cidr(inner, "cidr-contains"));
    },
    "ula-prefix": ([id]) => formatCidr(ulaPrefix(machineId(id, "ula-prefix"))),
    "ula-subnet": ([id, n]) =>
      formatCidr(ulaSubnet(machineId(id, "ula-subnet"), subnetNumber(n, "ula-subnet"))),
    "ula-address": ([id, n, guest]) => {
      const host = machineId(id, "ula-address");
      const holder = guest === undefined ? host : guestId(host, text(guest, "ula-address"));
      return formatAddress(ulaAddress(host, subnetNumber(n, "ula-address"), holder));
    },
    "guest-id": ([id, name]) => guestId(machineId(id, "guest-id"), text(name, "guest-id")),
    concat: (args) => args.map((a) => text(a, "concat")).join(""),
    includes: ([value, item]) =>
      Array.isArray(value)
        ? value.map(String).includes(String(item))
        : text(value, "includes").includes(text(item, "includes")),
  };
}

/** What a template may call besides Handlebars' own; `file` is the renderer's. */
export const HELPER_NAMES: readonly string[] = [...Object.keys(helperTable(String)), "file"];

function number(value: unknown, helper: string): number {
  const n =
    typeof value === "number"
      ? value
      : typeof value === "string" && value.trim() !== ""
        ? Number(value)
        : Number.NaN;
  if (!Number.isFinite(n)) throw new HelperFault(`\`${helper}\` wants a number, not ${kindOf(value)}`);
  return n;
}

function cidr(value: unknown, helper: string): Cidr {
  const parsed = parseCidr(text(value, helper));
  if (!parsed)
    throw new HelperFault(`\`${helper}\` wants a prefix such as 10.0.0.0/24, not \`${text(value, helper)}\``);
  return parsed;
}

/** The value is no part of the message: ids are not shown. */
function machineId(value: unknown, helper: string): MachineId {
  const id = parseMachineId(text(value, helper));
  if (!id) throw new HelperFault(`\`${helper}\` wants a machine-id, 32 hex digits, such as HOST_MACHINE_ID`);
  return id;
}

function subnetNumber(value: unknown, helper: string): number {
  const n = number(value, helper);
  if (!isSubnet(n))
    throw new HelperFault(`\`${helper}\` wants a subnet from 0 to 65535, not ${String(value)}`);
  return n;
}

function whole(value: unknown, helper: string): bigint {
  const n = number(value, helper);
  if (!Number.isSafeInteger(n))
    throw new HelperFault(`\`${helper}\` wants a whole number, not ${String(value)}`);
  return BigInt(n);
}
