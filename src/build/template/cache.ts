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

interface CacheFile {
  readonly tool: string;
  /** By key, the longest unused first. */
  readonly templates: Readonly<Record<string, CompiledTemplate>>;
}

/** `hash` gives 64 hex digits of a text's BLAKE3; `file` undefined: nothing is kept; `readKept` false: only written. */
export function templateCache(
  file: AbsPath | undefined,
  tool: string,
  hash: (text: string) => string,
  readKept: boolean,
): TemplateCache {
  const kept = file === undefined || !readKept ? {} : readCache(file, tool, hash);
  const used = new Map<string, CompiledTemplate>();
  let compile: CompileTemplate | undefined;
  let fresh = 0;
  return {
    find: (template, layer) => {
      const key = hash(`${layer}\0${template.file}\0${template.text}`);
      const known = used.get(key) ?? (Object.hasOwn(kept, key) ? kept[key] : undefined);
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
      const unused = Object.entries(kept).filter(([key]) => !used.has(key));
      const templates = Object.fromEntries([...unused, ...used].slice(-MAX_KEPT));
      writeCache(file, JSON.stringify({ tool, templates } satisfies CacheFile), hash);
      fresh = 0;
    },
  };
}

function readCache(file: AbsPath, tool: string, hash: (text: string) => string): CacheFile["templates"] {
  try {
    const text = readFileSync(file, "utf8");
    const end = text.indexOf("\n");
    const body = text.slice(end + 1);
    if (text.slice(0, end) !== hash(body)) return {};
    const read = JSON.parse(body) as CacheFile;
    return read.tool === tool ? read.templates : {};
  } catch {
    return {};
  }
}

function writeCache(file: AbsPath, body: string, hash: (text: string) => string): void {
  const temporary = `${file}.${process.pid}`;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(temporary, `${hash(body)}\n${body}`, { mode: 0o600 });
    renameSync(temporary, file);
  } catch {
    if (existsSync(temporary)) rmSync(temporary);
  }
}
