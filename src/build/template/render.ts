/**
 * Renders templates: strict, unescaped, with every fact read recorded. Owns the templates made ready in one run.
 * Gets texts and compiled templates handed in; must not read files, and must not load Handlebars' compiler.
 */
import Handlebars from "handlebars/runtime";
import type { Diagnostic, Place } from "../../diagnostics.ts";
import type { FactSearch, FactValue } from "../../facts/fact.ts";
import { SHARED_FILE } from "../parts.ts";
import { describe } from "../problems.ts";
import {
  type CompiledTemplates,
  OUT_FUNCTION,
  OUT_HELPER,
  type PartialName,
  SCOPE_HELPER,
  type TemplateText,
} from "./compiled.ts";
import { type Helper, HelperFault, helperTable, kindOf } from "./helper-table.ts";
import { readMarks } from "./line-marks.ts";
import { MissingName, type ReadLog, type ReadToken, type Scope, templateScope } from "./scope.ts";

export interface RenderRequest {
  readonly template: TemplateText;
  /** Layer or `machine`, for messages and for partials without a layer's name in front. */
  readonly layer: string;
  readonly machine: string;
  /** Facts and `machine` by name. */
  readonly facts: Readonly<Record<string, FactValue>>;
  readonly searched: FactSearch;
}

export type Rendering =
  | {
      readonly ok: true;
      readonly text: string;
      readonly reads: ReadLog;
      /** Names of the partials it can reach, resolved, sorted. */
      readonly partials: readonly string[];
      /** For each line of `text` the line of the template or partial that it comes from; only from a marking renderer. */
      readonly places?: readonly (Place | undefined)[];
    }
  | { readonly ok: false; readonly problem: Diagnostic };

export interface Renderer {
  /** Undefined: it reaches a template that is not compiled yet; load the compiler and ask again. */
  render(request: RenderRequest): Rendering | undefined;
}

/** Finds a partial by its resolved name `layer/name`; undefined if there is none. */
export type FindPartial = (name: string) => TemplateText | undefined;

interface Compiled {
  readonly run: Handlebars.TemplateDelegate;
  readonly partials: readonly PartialName[];
}

/** The same with all that it can reach. */
interface Ready {
  readonly run: Handlebars.TemplateDelegate;
  readonly partials: Readonly<Record<string, Handlebars.TemplateDelegate>>;
  readonly partialNames: readonly string[];
}

/**
 * `hash` gives 64 hex digits of a text's BLAKE3. A template is made ready once however many machines render it. With
 * `marking` the templates are marked ones, and a rendering also tells where each line comes from.
 */
export function renderer(
  findPartial: FindPartial,
  hash: (text: string) => string,
  templates: CompiledTemplates,
  marking: "plain" | "marking" = "plain",
): Renderer {
  const helpers = helpersOf(helperTable(hash), findPartial);
  const ready = new Map<string, { readonly text: string; readonly result: Ready | Diagnostic }>();
  const hashText = (text: string): string => hash(text).slice(0, 16);
  // Many templates read the same facts.
  const tokensOf = new WeakMap<object, Map<string, ReadToken>>();

  // Many templates include the same partials.
  const compiled = new Map<string, Compiled & { readonly text: string }>();
  const readyOne = (t: TemplateText, layer: string): Compiled | Diagnostic | undefined => {
    const key = `${layer}\0${t.file}`;
    const known = compiled.get(key);
    if (known?.text === t.text) return known;
    const found = templates.find(t, layer);
    if (!found || "code" in found) return found;
    // It is the compiler's own, of this run or from the cache that only this user can write.
    const spec = new Function(OUT_FUNCTION, `return ${found.script}`)(helpers.out) as TemplateSpecification;
    const one = { run: Handlebars.template(spec), partials: found.partials, text: t.text };
    compiled.set(key, one);
    return one;
  };

  const makeReady = (t: TemplateText, layer: string): Ready | Diagnostic | undefined => {
    const main = readyOne(t, layer);
    if (!main || "code" in main) return main;
    const partials: Record<string, Handlebars.TemplateDelegate> = {};
    const queue = [...main.partials];
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { full } = next;
      if (Object.hasOwn(partials, full)) continue;
      const found = findPartial(full);
      if (!found) {
        return describe({
          kind: "template-syntax",
          place: next.place,
          message: `there is no partial \`${next.name}\``,
          excerpt: [`looked for: layers/${full.replace("/", "/_partials/")}.hbs`],
        });
      }
      const one = readyOne(found, full.split("/")[0] ?? layer);
      if (!one || "code" in one) return one;
      partials[full] = one.run;
      queue.push(...one.partials);
    }
    return { run: main.run, partials, partialNames: Object.keys(partials).sort() };
  };

  return {
    render: (request) => {
      const key = `${request.layer}\0${request.template.file}`;
      const { text: source } = request.template;
      const known = ready.get(key);
      // An edit between two machines' renderings must not pair the new text's hash with the old text's result.
      const template = known?.text === source ? known.result : makeReady(request.template, request.layer);
      if (!template) return undefined;
      if (template !== known?.result) ready.set(key, { text: source, result: template });
      if ("code" in template) return { ok: false, problem: template };
      const reads: ReadLog = new Map();
      const tokens = tokensOf.get(request.facts) ?? new Map();
      tokensOf.set(request.facts, tokens);
      const scope = templateScope(request.facts, reads, hashText, tokens);
      const shared = new Set<string>();
      helpers.serve({ scope, shared, machine: request.machine });
      try {
        const text = template.run(scope.root, { helpers: helpers.table, partials: template.partials });
        const partials = [...template.partialNames, ...shared].sort();
        const rendering = { ok: true as const, text, reads, partials };
        return marking === "plain" ? rendering : { ...rendering, ...readMarks(text) };
      } catch (error) {
        if (error instanceof RenderFault) return { ok: false, problem: error.diagnostic };
        if (error instanceof MissingName) {
          const place = placeOf(error.mark);
          return {
            ok: false,
            problem: describe({
              kind: "fact-missing",
              fact: error.path,
              machine: request.machine,
              layer: request.layer,
              place,
              searched: request.searched,
            }),
          };
        }
        const endless = error instanceof RangeError;
        return {
          ok: false,
          problem: describe({
            kind: "template-failed",
            place: { file: request.template.file },
            message: endless ? "its partials include each other without end" : (error as Error).message,
            machine: request.machine,
            help: "correct the template",
          }),
        };
      }
    },
  };
}

/** `file:line:column`; a file's name may hold colons. */
function placeOf(mark: string): Place {
  const [, file = "?", line = "1", column = "1"] = /^(.*):([0-9]+):([0-9]+)$/s.exec(mark) ?? [];
  return { file, line: Number(line), column: Number(column) };
}

class RenderFault extends Error {
  readonly diagnostic: Diagnostic;
  constructor(diagnostic: Diagnostic) {
    super(diagnostic.message);
    this.diagnostic = diagnostic;
  }
}

type HelperOptions = Handlebars.HelperOptions & {
  lookupProperty(object: object, name: string): unknown;
};

/** The rendering that the helpers work for; there is one at a time. */
interface Served {
  readonly scope: Scope;
  /** Collects the files that `file` reads, as names of parts. */
  readonly shared: Set<string>;
  readonly machine: string;
}

interface RenderHelpers {
  /** As Handlebars calls them. */
  readonly table: Record<string, Handlebars.HelperDelegate>;
  /** Writes a value as text; refuses what can't be written. `mark` is where it stands, `original` how it is called there. */
  readonly out: (value: unknown, mark: string, original: string) => string;
  serve(rendering: Served): void;
}

/** Made once for all renderings: their closures are more than most renderings. */
function helpersOf(plain: Readonly<Record<string, Helper>>, findPartial: FindPartial): RenderHelpers {
  let now: Served | undefined;
  const served = (): Served => {
    if (!now) throw new Error("a helper ran outside a rendering");
    return now;
  };
  const fail = (mark: string, message: string, help: string): RenderFault => {
    const { machine } = served();
    const found = { kind: "template-failed", place: placeOf(mark), message, machine, help } as const;
    return new RenderFault(describe(found));
  };
  const whole = (value: unknown): unknown => served().scope.whole(value);
  const file: Helper = ([path]) => {
    if (typeof path !== "string") throw new HelperFault(`\`file\` wants a path, not ${kindOf(path)}`);
    served().shared.add(SHARED_FILE + path);
    const found = findPartial(SHARED_FILE + path);
    if (!found) throw new HelperFault(`there is no file \`${path}\` in the repository`);
    return found.text;
  };
  const out = (value: unknown, mark: string, original: string): string => {
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    const help =
      value === undefined || value === null
        ? "give it a value, or ask with {{default …}}"
        : `write {{json ${original}}}, {{join ${original} ", "}} or {{#each ${original}}}`;
    throw fail(mark, `\`${original}\` is ${kindOf(value)}, which can't be written as text`, help);
  };
  const table: Record<string, Handlebars.HelperDelegate> = {
    [OUT_HELPER]: out,
    [SCOPE_HELPER]: (context: unknown, options: HelperOptions): object =>
      served().scope.extend(context, options.hash),
    lookup: (object: unknown, name: unknown, options: HelperOptions): unknown => {
      const found =
        object !== null &&
        typeof object === "object" &&
        (typeof name === "string" || typeof name === "number")
          ? options.lookupProperty(object, String(name))
          : undefined;
      if (found !== undefined) return found;
      // The whole object is what the answer depended on when a name is not in it.
      whole(object);
      return undefined;
    },
  };
  for (const [name, helper] of Object.entries({ ...plain, file })) {
    table[name] = adapted(helper, whole, (mark, message) =>
      fail(mark, message, "correct the argument, or the fact that it comes from"),
    );
  }
  return {
    table,
    out,
    serve: (rendering) => {
      now = rendering;
    },
  };
}

/** Adapts a plain helper to Handlebars: unwraps proxies, splits off the options, adds the place to a fault. */
function adapted(
  helper: Helper,
  whole: (value: unknown) => unknown,
  failAt: (mark: string, message: string) => Error,
): Handlebars.HelperDelegate {
  return (...args: unknown[]): unknown => {
    const options = args.pop() as HelperOptions;
    const mark = String(args.pop());
    try {
      const named = Object.entries(options.hash).map(([k, v]) => [k, whole(v)]);
      return helper(args.map(whole), Object.fromEntries(named));
    } catch (error) {
      if (!(error instanceof HelperFault)) throw error;
      throw failAt(mark, error.message);
    }
  };
}
