/**
 * A compiled template as data: what the compiler makes, the cache keeps and the renderer runs. Types and the names that all
 * three agree on; must not load Handlebars.
 */
import type { Diagnostic, Place } from "../../diagnostics.ts";

/** A template file's text and where it is. */
export interface TemplateText {
  readonly text: string;
  /** Repository-relative. */
  readonly file: string;
}

export interface PartialName {
  readonly name: string;
  /** `layer/name`; what the compiled template asks for. */
  readonly full: string;
  readonly place: Place;
}

export interface CompiledTemplate {
  /** A JavaScript expression: what Handlebars' runtime takes as a template. It may call `OUT_FUNCTION`. */
  readonly script: string;
  /** Partials named in the text. */
  readonly partials: readonly PartialName[];
}

/** Whose partials a bare name means is the layer's business. */
export type CompileTemplate = (template: TemplateText, layer: string) => CompiledTemplate | Diagnostic;

/** Where a renderer gets its templates from. */
export interface CompiledTemplates {
  /** Undefined: not compiled yet, and `loadCompiler` has to come first. */
  find(template: TemplateText, layer: string): CompiledTemplate | Diagnostic | undefined;
  loadCompiler(): Promise<void>;
}

/** Names that the rewriting inserts; a template can't write them, because of the leading blank. */
export const OUT_HELPER = " out";
export const SCOPE_HELPER = " scope";

/** What `OUT_HELPER` does, as the scripts call it. */
export const OUT_FUNCTION = "out";

/** Handlebars' own, which take no place. */
export const BUILT_IN: ReadonlySet<string> = new Set(["if", "unless", "each", "with", "lookup"]);
