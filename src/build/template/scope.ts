/**
 * What a template sees: its facts behind proxies that refuse an unset name and record every read.
 * `template-source.ts` rewrites each name in a template to `name⟨U+0001⟩file:line:column[?]`, so that a read knows where it
 * stands; `?` marks a read that allows absence. Must not know Handlebars beyond how it looks a property up.
 */
import type { FactValue } from "../../facts/fact.ts";

/** Separates a name from its place; can't occur in a template's names, which Handlebars' lexer limits. */
export const PLACE_MARK = "\u0001";

/**
 * What a read depended on. `=` and a hash: the whole value. `object`, `list`: only that it is one. `absent`: that it is unset.
 */
export type ReadToken = `=${string}` | "object" | "list" | "absent";

/** Fact paths (`WEB_PORT`, `net.bridge.name`) with what each read depended on. */
export type ReadLog = Map<string, ReadToken>;

/** Thrown through Handlebars, caught by `render.ts`; never leaves it. */
export class MissingName extends Error {
  readonly path: string;
  /** `file:line:column`. */
  readonly mark: string;
  constructor(path: string, mark: string) {
    super(`${path} is unset`);
    this.path = path;
    this.mark = mark;
  }
}

/** Undefined: below a name that a fact path can't hold; the whole value above it is recorded. */
type FactPath = string | undefined;

interface Wrapped {
  readonly value: object;
  readonly path: FactPath;
}

export interface Scope {
  readonly root: object;
  /** The plain value behind a proxy, recorded as read whole; any other value as it is. */
  whole(value: unknown): unknown;
  /** A scope with extra names in front, for `{{> partial name=value}}`. */
  extend(context: unknown, names: Readonly<Record<string, unknown>>): object;
}

/** Hash of a value as a token; `canonicalJson` gives the text to hash. */
export type HashText = (text: string) => string;

/** `facts` is the root object; reads go into `log`. `tokens` keeps the hashes of whole values of the same facts. */
export function templateScope(
  facts: Readonly<Record<string, FactValue>>,
  log: ReadLog,
  hashText: HashText,
  tokens: Map<string, ReadToken> = new Map(),
): Scope {
  const behind = new WeakMap<object, Wrapped>();

  const recordWhole = (path: FactPath, value: unknown): void => {
    if (path === undefined) return;
    let token = tokens.get(path);
    if (token === undefined) {
      token = `=${hashText(canonicalJson(value))}`;
      tokens.set(path, token);
    }
    log.set(path, token);
  };
  const recordShape = (path: FactPath, value: object): void => {
    if (path !== undefined && !log.has(path)) log.set(path, Array.isArray(value) ? "list" : "object");
  };
  const give = (value: unknown, path: FactPath): unknown => {
    if (value === null || typeof value !== "object") {
      recordWhole(path, value);
      return value;
    }
    recordShape(path, value);
    return wrap(value, path);
  };
  const wrap = (value: object, path: FactPath): object => {
    const below = (name: string): FactPath =>
      path === undefined || name.includes(".") ? undefined : path === "" ? name : `${path}.${name}`;
    const proxy = new Proxy(value, {
      get: (target, key) => {
        if (typeof key === "symbol") return Reflect.get(target, key);
        const { name, mark, optional } = decode(key);
        const inside = below(name);
        // `a.b` as one key and as two would be one fact path.
        if (name.includes(".")) recordWhole(path, target);
        if (!Object.hasOwn(target, name)) {
          if (mark === undefined) return Array.isArray(target) ? Reflect.get(target, name) : undefined;
          if (inside !== undefined) log.set(inside, "absent");
          if (optional) return undefined;
          throw new MissingName(inside ?? `${path ?? ""}.[${name}]`, mark);
        }
        if (Array.isArray(target)) recordWhole(path, target);
        return give(Reflect.get(target, name), inside);
      },
      has: (target, key) =>
        typeof key === "symbol" ? Reflect.has(target, key) : Object.hasOwn(target, decode(key).name),
      ownKeys: (target) => {
        recordWhole(path, target);
        return Reflect.ownKeys(target);
      },
      getOwnPropertyDescriptor: (target, key) => {
        const name = typeof key === "symbol" ? key : decode(key).name;
        const found = Reflect.getOwnPropertyDescriptor(target, name);
        return found === undefined ? undefined : { ...found, configurable: true };
      },
      set: () => false,
      deleteProperty: () => false,
      defineProperty: () => false,
    });
    behind.set(proxy, { value, path });
    return proxy;
  };

  const whole = (value: unknown): unknown => {
    if (value === null || typeof value !== "object") return value;
    const wrapped = behind.get(value);
    if (!wrapped) return value;
    if (wrapped.path !== "") recordWhole(wrapped.path, wrapped.value);
    else for (const [name, v] of Object.entries(wrapped.value)) recordWhole(name, v);
    return wrapped.value;
  };

  const extend = (context: unknown, names: Readonly<Record<string, unknown>>): object => {
    const base = context !== null && typeof context === "object" ? context : {};
    return new Proxy(base, {
      get: (target, key) => {
        if (typeof key === "symbol") return Reflect.get(target, key);
        const { name } = decode(key);
        return Object.hasOwn(names, name) ? names[name] : Reflect.get(target, key);
      },
      getOwnPropertyDescriptor: (target, key) => {
        const name = typeof key === "symbol" ? "" : decode(key).name;
        if (Object.hasOwn(names, name))
          return { value: names[name], configurable: true, enumerable: true, writable: false };
        return Reflect.getOwnPropertyDescriptor(target, key);
      },
    });
  };

  return { root: wrap(facts, ""), whole, extend };
}

/** The token that the same read would give against other facts; equal tokens mean an equal rendering. Pure. */
export function tokenNow(
  facts: Readonly<Record<string, FactValue>>,
  path: string,
  before: ReadToken,
  hashText: HashText,
): ReadToken {
  let value: unknown = facts;
  for (const name of path.split(".")) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, name)) return "absent";
    value = (value as Record<string, unknown>)[name];
  }
  if (value !== null && typeof value === "object" && (before === "object" || before === "list")) {
    return Array.isArray(value) ? "list" : "object";
  }
  return `=${hashText(canonicalJson(value))}`;
}

/** JSON with keys sorted, so that equal values have equal text. Pure. */
export function canonicalJson(value: unknown): string {
  if (value === undefined) return "null";
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonicalJson(v)}`).join(",")}}`;
}

function decode(key: string): { name: string; mark: string | undefined; optional: boolean } {
  const at = key.indexOf(PLACE_MARK);
  if (at < 0) return { name: key, mark: undefined, optional: false };
  const optional = key.endsWith("?");
  return { name: key.slice(0, at), mark: key.slice(at + 1, optional ? -1 : undefined), optional };
}
