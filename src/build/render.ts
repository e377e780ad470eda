/**
 * Renders templates: strict, unescaped, with every fact read recorded. Owns the compiled templates of one run.
 * Gets texts handed in; must not read files.
 */
import Handlebars from "handlebars";
import type { Diagnostic, Place } from "../diagnostics.ts";
import type { FactSearch, FactValue } from "../facts/fact.ts";
import { markLines, readMarks } from "./line-marks.ts";
import { SHARED_FILE } from "./parts.ts";
import { describe } from "./problems.ts";
import { type Helper, HelperFault, helperTable, kindOf } from "./template-helpers.ts";
import { MissingName, type ReadLog, templateScope } from "./template-scope.ts";
import { BUILT_IN, OUT_HELPER, type PartialName, parseTemplate, SCOPE_HELPER } from "./template-source.ts";

/** A template file's text and where it is. */
export interface TemplateText {
  readonly text: string;
  /** Repository-relative. */
  readonly file: string;
}

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
  render(request: RenderRequest): Rendering;
}

/** Finds a partial by its resolved name `layer/name`; undefined if there is none. */
export type FindPartial = (name: string) => TemplateText | undefined;

interface Compiled {
  readonly run: Handlebars.TemplateDelegate;
  readonly partials: Readonly<Record<string, Handlebars.TemplateDelegate>>;
  readonly partialNames: readonly string[];
}

/**
 * `hash` gives 64 hex digits of a text's BLAKE3. A template is compiled once however many machines render it. A marking
 * renderer also tells where each line comes from; its compiled templates are its own.
 */
export function renderer(
  findPartial: FindPartial,
  hash: (text: string) => string,
  marking: "plain" | "marking" = "plain",
): Renderer {
  const table = helperTable(hash);
  const known = new Set<string>([...BUILT_IN, ...Object.keys(table), "file"]);
  const files: string[] = [];
  const compiled = new Map<string, { readonly text: string; readonly result: Compiled | Diagnostic }>();
  const hashText = (text: string): string => hash(text).slice(0, 16);

  const placeOf = (mark: string): Place => {
    const [file = "0", line = "1", column = "1"] = mark.split(":");
    return { file: files[Number(file)] ?? "?", line: Number(line), column: Number(column) };
  };

  const compileOne = (
    t: TemplateText,
    layer: string,
  ): { run: Handlebars.TemplateDelegate; partials: readonly PartialName[] } | Diagnostic => {
    const fileIndex = files.push(t.file) - 1;
    const parsed = parseTemplate(t.text, t.file, fileIndex, layer, known);
    if ("problem" in parsed) return parsed.problem;
    if (marking === "marking") markLines(parsed.template.ast, fileIndex);
    const helpers = Object.fromEntries([...known, OUT_HELPER, SCOPE_HELPER].map((name) => [name, true]));
    const run = Handlebars.compile(parsed.template.ast, {
      noEscape: true,
      knownHelpersOnly: true,
      knownHelpers: helpers,
    });
    return { run, partials: parsed.template.partials };
  };

  const compile = (t: TemplateText, layer: string): Compiled | Diagnostic => {
    const main = compileOne(t, layer);
    if ("code" in main) return main;
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
      const one = compileOne(found, full.split("/")[0] ?? layer);
      if ("code" in one) return one;
      partials[full] = one.run;
      queue.push(...one.partials);
    }
    return { run: main.run, partials, partialNames: Object.keys(partials).sort() };
  };

  return {
    render: (request) => {
      const key = `${request.layer}\0${request.template.file}`;
      const { text: source } = request.template;
      const known = compiled.get(key);
      // An edit between two machines' renderings must not pair the new text's hash with the old text's result.
      const template = known?.text === source ? known.result : compile(request.template, request.layer);
      if (template !== known?.result) compiled.set(key, { text: source, result: template });
      if ("code" in template) return { ok: false, problem: template };
      const reads: ReadLog = new Map();
      const scope = templateScope(request.facts, reads, hashText);
      const fail = (place: Place, message: string, help: string): RenderFault =>
        new RenderFault(
          describe({ kind: "template-failed", place, message, machine: request.machine, help }),
        );
      const shared = new Set<string>();
      const file: Helper = ([path]) => {
        if (typeof path !== "string") throw new HelperFault(`\`file\` wants a path, not ${kindOf(path)}`);
        shared.add(SHARED_FILE + path);
        const found = findPartial(SHARED_FILE + path);
        if (!found) throw new HelperFault(`there is no file \`${path}\` in the repository`);
        return found.text;
      };
      try {
        const text = template.run(scope.root, {
          helpers: {
            ...wrapHelpers({ ...table, file }, scope.whole, (mark, message) =>
              fail(placeOf(mark), message, "correct the argument, or the fact that it comes from"),
            ),
            ...ownHelpers(scope, placeOf, fail),
          },
          partials: template.partials,
        });
        const partials = [...template.partialNames, ...shared].sort();
        const rendering = { ok: true as const, text, reads, partials };
        return marking === "plain" ? rendering : { ...rendering, ...readMarks(text, files) };
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
type FailAt = (mark: string, message: string) => Error;

/** Adapts plain helpers to Handlebars: unwraps proxies, splits off the options, adds the place to a fault. */
function wrapHelpers(
  table: ReturnType<typeof helperTable>,
  whole: (value: unknown) => unknown,
  failAt: FailAt,
): Record<string, Handlebars.HelperDelegate> {
  return Object.fromEntries(
    Object.entries(table).map(([name, helper]) => [
      name,
      (...args: unknown[]): unknown => {
        const options = args.pop() as HelperOptions;
        const mark = String(args.pop());
        try {
          return helper(
            args.map(whole),
            Object.fromEntries(Object.entries(options.hash).map(([k, v]) => [k, whole(v)])),
          );
        } catch (error) {
          if (!(error instanceof HelperFault)) throw error;
          throw failAt(mark, error.message);
        }
      },
    ]),
  );
}

function ownHelpers(
  scope: ReturnType<typeof templateScope>,
  placeOf: (mark: string) => Place,
  fail: (place: Place, message: string, help: string) => Error,
): Record<string, Handlebars.HelperDelegate> {
  return {
    [OUT_HELPER]: (value: unknown, mark: string, original: string): string => {
      if (typeof value === "string") return value;
      if (typeof value === "number" || typeof value === "boolean") return String(value);
      const help =
        value === undefined || value === null
          ? "give it a value, or ask with {{default …}}"
          : `write {{json ${original}}}, {{join ${original} ", "}} or {{#each ${original}}}`;
      throw fail(placeOf(mark), `\`${original}\` is ${kindOf(value)}, which can't be written as text`, help);
    },
    [SCOPE_HELPER]: (context: unknown, options: HelperOptions): object => scope.extend(context, options.hash),
    lookup: (object: unknown, name: unknown, options: HelperOptions): unknown => {
      const found =
        object !== null &&
        typeof object === "object" &&
        (typeof name === "string" || typeof name === "number")
          ? options.lookupProperty(object, String(name))
          : undefined;
      if (found !== undefined) return found;
      // The whole object is what the answer depended on when a name is not in it.
      scope.whole(object);
      return undefined;
    },
  };
}
