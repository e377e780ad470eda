/**
 * Compiled templates kept between runs, since Handlebars' compiler takes longer than all else that a build does with a
 * template. A cache in the user's own cache folder, never in the repository: it holds code, and a repository may come from
 * anywhere. Absent, damaged or of another labctl it means "compile".
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { AbsPath } from "../../paths.ts";
import type { CompiledTemplate, CompiledTemplates, CompileTemplate } from "./compiled.ts";

/** Most templates kept; those that were not used for longest go first. */
const MAX_KEPT = 2_000;
/** Writing the file costs as much as compiling so many templates. */
const WORTH_WRITING = 4;

export interface TemplateCache extends CompiledTemplates {
  /** Writes what was compiled anew, if it is worth it; a cache that can't be written is none. */
  save(): void;
}

/** First line of the file; below it the templates stand, each as JSON. */
interface Index {
  readonly tool: string;
  /** By key, the longest unused first: bytes of its JSON, and the hash of it. */
  readonly templates: Readonly<Record<string, readonly [sizeBytes: number, hash: string]>>;
}

/** What is kept, each template read when it is asked for: a build after an edit wants few of many. */
interface Kept {
  readonly keys: readonly string[];
  /** Undefined: it is not there, or damaged. */
  text(key: string): string | undefined;
}

const NOTHING: Kept = { keys: [], text: () => undefined };

/** `hash` gives 64 hex digits of a text's BLAKE3; `file` undefined: nothing is kept; `readKept` false: only written. */
export function templateCache(
  file: AbsPath | undefined,
  tool: string,
  hash: (text: string) => string,
  readKept: boolean,
): TemplateCache {
  const kept = file === undefined || !readKept ? NOTHING : readCache(file, tool, hash);
  const used = new Map<string, CompiledTemplate>();
  let compile: CompileTemplate | undefined;
  let fresh = 0;
  return {
    find: (template, layer) => {
      const key = hash(`${layer}\0${template.file}\0${template.text}`);
      const known = used.get(key) ?? parsed(kept.text(key));
      const found = known ?? compile?.(template, layer);
      if (!found || "code" in found) return found;
      if (!known) fresh++;
      used.set(key, found);
      return found;
    },
    loadCompiler: async () => {
      const { templateCompiler } = await import("./compile.ts");
      compile = templateCompiler();
    },
    save: () => {
      if (file === undefined || fresh < WORTH_WRITING) return;
      const texts = new Map<string, string>();
      for (const key of kept.keys) {
        const text = used.has(key) ? undefined : kept.text(key);
        if (text !== undefined) texts.set(key, text);
      }
      for (const [key, template] of used) texts.set(key, JSON.stringify(template));
      writeCache(file, tool, [...texts].slice(-MAX_KEPT), hash);
      fresh = 0;
    },
  };
}

function parsed(text: string | undefined): CompiledTemplate | undefined {
  return text === undefined ? undefined : (JSON.parse(text) as CompiledTemplate);
}

function readCache(file: AbsPath, tool: string, hash: (text: string) => string): Kept {
  try {
    const data = readFileSync(file);
    const seal = data.indexOf("\n");
    const end = data.indexOf("\n", seal + 1);
    const first = data.toString("utf8", seal + 1, end);
    if (data.toString("latin1", 0, seal) !== hash(first)) return NOTHING;
    const index = JSON.parse(first) as Index;
    if (index.tool !== tool) return NOTHING;
    const places = new Map<string, { readonly from: number; readonly to: number; readonly sum: string }>();
    let from = end + 1;
    for (const [key, [sizeBytes, sum]] of Object.entries(index.templates)) {
      places.set(key, { from, to: from + sizeBytes, sum });
      from += sizeBytes;
    }
    return {
      keys: [...places.keys()],
      text: (key) => {
        const place = places.get(key);
        const text = place && data.toString("utf8", place.from, place.to);
        return text !== undefined && hash(text) === place?.sum ? text : undefined;
      },
    };
  } catch {
    return NOTHING;
  }
}

function writeCache(
  file: AbsPath,
  tool: string,
  texts: readonly (readonly [key: string, text: string])[],
  hash: (text: string) => string,
): void {
  const templates = Object.fromEntries(
    texts.map(([key, text]) => [key, [Buffer.byteLength(text), hash(text)] as const]),
  );
  const index = JSON.stringify({ tool, templates } satisfies Index);
  const temporary = `${file}.${process.pid}`;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const body = texts.map(([, text]) => text).join("");
    writeFileSync(temporary, `${hash(index)}\n${index}\n${body}`, { mode: 0o600 });
    renameSync(temporary, file);
  } catch {
    if (existsSync(temporary)) rmSync(temporary);
  }
}
