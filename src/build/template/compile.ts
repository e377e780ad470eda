/**
 * Compiles templates. Owns the use of Handlebars' compiler, which takes longer to load than most renderings take: it is
 * loaded only for a template that is not compiled yet.
 */
import Handlebars from "handlebars";
import {
  BUILT_IN,
  type CompiledTemplates,
  type CompileTemplate,
  OUT_FUNCTION,
  OUT_HELPER,
  SCOPE_HELPER,
} from "./compiled.ts";
import { HELPER_NAMES } from "./helper-table.ts";
import { markLines } from "./line-marks.ts";
import { parseTemplate } from "./source.ts";

const CALLABLE: ReadonlySet<string> = new Set([...BUILT_IN, ...HELPER_NAMES]);
const KNOWN = Object.fromEntries([...CALLABLE, OUT_HELPER, SCOPE_HELPER].map((name) => [name, true]));

/** With `marking`, a rendering also tells where each of its lines comes from. Pure apart from Handlebars' own state. */
export function templateCompiler(marking: "plain" | "marking" = "plain"): CompileTemplate {
  return ({ text, file }, layer) => {
    const parsed = parseTemplate(text, file, layer, CALLABLE);
    if ("problem" in parsed) return parsed.problem;
    const { ast, partials } = parsed.template;
    if (marking === "marking") markLines(ast, file);
    const options = { noEscape: true, knownHelpersOnly: true, knownHelpers: KNOWN };
    return { script: shortened(Handlebars.precompile(ast, options) as string), partials };
  };
}

/** Templates compiled whenever they are asked for. */
export function compiledAtOnce(marking: "plain" | "marking" = "plain"): CompiledTemplates {
  return { find: templateCompiler(marking), loadCompiler: async () => {} };
}

/**
 * The same script without what the runtime has anyway and what no helper here reads, which is two thirds of it, and which
 * would be parsed in every run. Raw quotes and line ends can't stand in a string of the script, so no text is touched. Pure.
 */
function shortened(script: string): string {
  const short = script
    .replace(
      /container\.lookupProperty \|\| function\(parent, propertyName\) \{[^}]*\}[^}]*\}/g,
      "container.lookupProperty",
    )
    .replace(/,"loc":\{"start":\{"line":\d+,"column":\d+\},"end":\{"line":\d+,"column":\d+\}\}/g, "");
  // Values are written by a plain call instead of one through the table of helpers, which takes options that nobody reads.
  const begin =
    /\(\(stack1 = lookupProperty\(helpers," out"\)\.call\((?:alias\d+|depth0 != null \? depth0 : \(container\.nullContext \|\| \{\}\)),/g;
  const end = `,{"name":"${OUT_HELPER}","hash":{},"data":data})) != null ? stack1 : "")`;
  const called = short.replace(begin, `(${OUT_FUNCTION}(`);
  const paired = short.match(begin)?.length === short.split(end).length - 1;
  return paired ? called.replaceAll(end, "))") : short;
}
