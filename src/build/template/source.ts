/**
 * Parses a template and rewrites its syntax tree: names get their place, output goes through a check, and partials
 * with arguments get a scope of their own. Owns everything that touches Handlebars' tree; must not evaluate anything.
 */
import Handlebars from "handlebars";
import type { Diagnostic, Place } from "../../diagnostics.ts";
import { suggestion } from "../../suggestion.ts";
import { describe } from "../problems.ts";
import { BUILT_IN, OUT_HELPER, type PartialName, SCOPE_HELPER } from "./compiled.ts";
import { PLACE_MARK } from "./scope.ts";

/** Helpers whose first argument may be unset. */
const ABSENCE_ALLOWED = new Set(["default", "isSet", "required"]);

export interface TemplateSource {
  readonly ast: hbs.AST.Program;
  /** Partials named in the text. */
  readonly partials: readonly PartialName[];
}

/** `layer` is whose partials a bare name means. Pure apart from the parser's own state. */
export function parseTemplate(
  text: string,
  file: string,
  layer: string,
  helpers: ReadonlySet<string>,
): { readonly template: TemplateSource } | { readonly problem: Diagnostic } {
  let ast: hbs.AST.Program;
  try {
    ast = Handlebars.parse(text);
  } catch (error) {
    return { problem: syntaxProblem(error as Error, text, file) };
  }
  const rewriter = new Rewriter(file, layer, helpers);
  rewriter.program(ast, []);
  if (rewriter.problem) return { problem: rewriter.problem };
  return { template: { ast, partials: rewriter.partials } };
}

/** Each name that a template's text reads, as written, with its line; empty for a template that does not parse. Pure. */
export function readPlaces(text: string): readonly { readonly name: string; readonly line: number }[] {
  const out: { name: string; line: number }[] = [];
  let ast: hbs.AST.Program;
  try {
    ast = Handlebars.parse(text);
  } catch {
    return out;
  }
  class Reader extends Handlebars.Visitor {
    override PathExpression(path: hbs.AST.PathExpression): void {
      out.push({ name: path.original.replace(/^(@root\.|this\.|(\.\.\/)+)/, ""), line: path.loc.start.line });
    }
  }
  new Reader().accept(ast);
  return out;
}

type Node = hbs.AST.Node;
type Expression = hbs.AST.Expression;
type CallNode = {
  path: Expression;
  params: Expression[];
  hash?: hbs.AST.Hash;
};

/** One pass over the tree; `blockParams` holds the names that blocks around bind. */
class Rewriter {
  problem: Diagnostic | undefined;
  readonly partials: PartialName[] = [];
  private readonly file: string;
  private readonly layer: string;
  private readonly helpers: ReadonlySet<string>;

  constructor(file: string, layer: string, helpers: ReadonlySet<string>) {
    this.file = file;
    this.layer = layer;
    this.helpers = helpers;
  }

  program(program: hbs.AST.Program, blockParams: readonly string[]): void {
    const bound = [...blockParams, ...(program.blockParams ?? [])];
    for (const statement of program.body) this.statement(statement, bound);
  }

  private statement(node: hbs.AST.Statement, bound: readonly string[]): void {
    switch (node.type) {
      case "MustacheStatement":
        this.mustache(node as hbs.AST.MustacheStatement, bound);
        break;
      case "BlockStatement":
      case "DecoratorBlock": {
        const block = node as hbs.AST.BlockStatement;
        if (node.type === "BlockStatement") this.call(block, bound, true);
        if (block.program) this.program(block.program, bound);
        if (block.inverse) this.program(block.inverse, bound);
        break;
      }
      case "PartialStatement":
      case "PartialBlockStatement": {
        this.partial(node as hbs.AST.PartialStatement, bound);
        const body = (node as hbs.AST.PartialBlockStatement).program;
        if (body) this.program(body, bound);
        break;
      }
      default:
        break;
    }
  }

  private mustache(node: hbs.AST.MustacheStatement, bound: readonly string[]): void {
    const call = node as unknown as CallNode & Node;
    const original = (call.path as hbs.AST.PathExpression).original;
    const isCall =
      call.params.length > 0 || (call.hash?.pairs.length ?? 0) > 0 || this.isHelper(call.path, bound);
    const mark = this.mark(node);
    let value: Expression;
    if (isCall) {
      this.call(call, bound, false);
      value = {
        type: "SubExpression",
        path: call.path,
        params: call.params,
        hash: call.hash,
        loc: node.loc,
      } as unknown as Expression;
    } else {
      this.expression(call.path, bound, false);
      value = call.path;
    }
    call.path = pathNode(OUT_HELPER, node.loc);
    call.params = [value, stringNode(mark, node.loc), stringNode(String(original), node.loc)];
    delete call.hash;
  }

  private isHelper(path: Expression, bound: readonly string[]): boolean {
    if (path.type !== "PathExpression") return false;
    const p = path as hbs.AST.PathExpression;
    return (
      !p.data &&
      p.depth === 0 &&
      p.parts.length === 1 &&
      p.original === p.parts[0] &&
      this.helpers.has(p.original) &&
      !bound.includes(p.original)
    );
  }

  /** Arguments of a helper or block; an unknown helper is a problem that names it. */
  private call(node: CallNode & Node, bound: readonly string[], block: boolean): void {
    const name = (node.path as hbs.AST.PathExpression).original;
    if (!this.isHelper(node.path, bound)) {
      if (block && node.params.length === 0) {
        this.refuse(
          node,
          `{{#${name}}} is no block that templates know; use {{#if ${name}}}, {{#each ${name}}} or {{#with ${name}}}`,
        );
      } else this.refuse(node, `unknown helper \`${name}\``, suggestion(name, [...this.helpers]));
      return;
    }
    for (const [i, param] of node.params.entries())
      this.expression(param, bound, i === 0 && ABSENCE_ALLOWED.has(name));
    for (const pair of node.hash?.pairs ?? []) this.expression(pair.value, bound, false);
    // A helper that refuses its arguments must say where it stands, also in a partial.
    if (!BUILT_IN.has(name)) node.params.push(stringNode(this.mark(node), node.loc));
  }

  private partial(node: hbs.AST.PartialStatement, bound: readonly string[]): void {
    if (!["PathExpression", "StringLiteral"].includes(node.name.type)) {
      this.refuse(
        node,
        "a partial's name can't be computed; which files a template reads must be known beforehand",
      );
      return;
    }
    const name = String((node.name as hbs.AST.PathExpression).original);
    if (name !== "@partial-block") {
      const full = name.includes("/") ? name : `${this.layer}/${name}`;
      this.partials.push({ name, full, place: this.place(node) });
      // All partials of a rendering are handed over in one table, in which two layers may have one of the same bare name.
      (node.name as hbs.AST.PathExpression).original = full;
    }
    for (const param of node.params) this.expression(param, bound, false);
    const hash = node.hash as hbs.AST.Hash | undefined;
    if (!hash || hash.pairs.length === 0) return;
    for (const pair of hash.pairs) this.expression(pair.value, bound, false);
    const context = node.params[0] ?? thisNode(node.loc);
    node.params = [
      {
        type: "SubExpression",
        path: pathNode(SCOPE_HELPER, node.loc),
        params: [context],
        hash,
        loc: node.loc,
      } as unknown as Expression,
    ];
    // An empty hash is not the same as none: Handlebars would flatten the context into a plain object.
    delete (node as { hash?: hbs.AST.Hash }).hash;
  }

  private expression(node: Expression, bound: readonly string[], optional: boolean): void {
    if (node.type === "SubExpression") {
      this.call(node as unknown as CallNode & Node, bound, false);
      return;
    }
    if (node.type !== "PathExpression") return;
    const path = node as hbs.AST.PathExpression;
    const suffix = `${PLACE_MARK}${this.mark(node)}${optional ? "?" : ""}`;
    // Block parameters and @data are Handlebars' own names; only what is read from a value gets a place.
    const first =
      path.data ||
      (path.depth === 0 && !/^(this[./]|\.\/)/.test(path.original) && bound.includes(String(path.parts[0])))
        ? 1
        : 0;
    path.parts = path.parts.map((part, i) => (i < first ? part : `${String(part)}${suffix}`));
  }

  private mark(node: Node): string {
    return `${this.file}:${node.loc.start.line}:${node.loc.start.column + 1}`;
  }

  private place(node: Node): Place {
    return { file: this.file, line: node.loc.start.line, column: node.loc.start.column + 1 };
  }

  private refuse(node: Node, message: string, help?: string): void {
    const place = this.place(node);
    const found = { kind: "template-syntax", place, message, excerpt: [] } as const;
    this.problem ??= describe(help === undefined ? found : { ...found, help });
  }
}

function pathNode(name: string, loc: hbs.AST.SourceLocation): hbs.AST.PathExpression {
  return {
    type: "PathExpression",
    data: false,
    depth: 0,
    parts: [name],
    original: name,
    loc,
  } as hbs.AST.PathExpression;
}

function thisNode(loc: hbs.AST.SourceLocation): Expression {
  return {
    type: "PathExpression",
    data: false,
    depth: 0,
    parts: [],
    original: "this",
    loc,
  } as unknown as Expression;
}

function stringNode(value: string, loc: hbs.AST.SourceLocation): Expression {
  return { type: "StringLiteral", value, original: value, loc } as unknown as Expression;
}

/** Handlebars words syntax errors for two kinds of failure differently; both become place, phrase and excerpt. */
function syntaxProblem(
  error: Error & { lineNumber?: number; column?: number },
  text: string,
  file: string,
): Diagnostic {
  const refuse = (at: { line?: number; column?: number }, message: string): Diagnostic =>
    describe({
      kind: "template-syntax",
      place: { file, ...at },
      message,
      excerpt: at.line === undefined ? [] : excerptOf(text, at.line),
    });
  const lexer = /Parse error on line (\d+):\n(.*)\n(-*)\^\n?(.*)/s.exec(error.message);
  if (lexer) {
    const line = Number(lexer[1]);
    const got = /got '([A-Z_]+)'/.exec(lexer[4] ?? "")?.[1];
    const open = unclosed(text);
    if (open && (got === "EOF" || got === "INVALID"))
      return refuse(placeAt(text, open.offset), `\`${open.tag}\` is never closed`);
    const column = columnOf(text, line, lexer[2] ?? "", (lexer[3] ?? "").length);
    if (got === "CLOSE") return refuse({ line, column }, "`}}` stands where a name or value is expected");
    return refuse({ line, column }, "Handlebars can't read the template here");
  }
  const message = error.message.replace(/ - \d+:\d+$/, "");
  const line = error.lineNumber;
  const at = line === undefined ? {} : { line, column: (error.column ?? 0) + 1 };
  const pair = /^(\S+) doesn't match (\S+)$/.exec(message);
  return refuse(at, pair ? `\`{{#${pair[1]}}}\` is closed by \`{{/${pair[2]}}}\`` : message);
}

/** The last tag or block that nothing closes; undefined if all are closed. Pure. */
function unclosed(text: string): { readonly offset: number; readonly tag: string } | undefined {
  const blocks: { offset: number; tag: string }[] = [];
  for (let at = text.indexOf("{{"); at >= 0; at = text.indexOf("{{", at + 2)) {
    const comment = /^\{\{~?!--/.test(text.slice(at, at + 6));
    const end = text.indexOf(comment ? "--}}" : "}}", at);
    const next = comment ? -1 : text.indexOf("{{", at + 2);
    if (end < 0 || (next >= 0 && next < end)) return { offset: at, tag: "{{" };
    const tag = /^\{\{~?(#>?|\/)\s*([^\s}~]+)/.exec(text.slice(at, end));
    if (tag?.[1] === "/") blocks.pop();
    else if (tag) blocks.push({ offset: at, tag: `{{${tag[1]}${tag[2]}}}` });
    at = end;
  }
  return blocks.at(-1);
}

function placeAt(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}

function excerptOf(text: string, line: number): string[] {
  const source = text.split("\n")[line - 1];
  return source === undefined ? [] : [`${line} | ${source}`];
}

/** The lexer shows a window of the text with a caret below; the window's end is found again in the line. */
function columnOf(text: string, line: number, window: string, caret: number): number {
  const source = text.split("\n")[line - 1] ?? "";
  const shown = window
    .replace(/^\.\.\./, "")
    .slice(0, Math.max(0, caret - (window.startsWith("...") ? 3 : 0)));
  const at = shown === "" ? 0 : source.indexOf(shown.split("\n").at(-1) ?? shown);
  return at < 0 ? source.length + 1 : Math.min(at + shown.length, source.length) + 1;
}
