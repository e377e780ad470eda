/** What both kinds of build hand to a machine's build; loads the renderer and the bundler only when a step needs one. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Blake3 } from "../hash.ts";
import type { AbsPath } from "../paths.ts";
import type { BuildRequest } from "./build-result.ts";
import type { Bundler } from "./bundle.ts";
import type { Tools } from "./machine-build.ts";
import type { Parts } from "./parts.ts";
import type { SourceHashes } from "./source-hashes.ts";
import { type TemplateCache, templateCache } from "./template/cache.ts";
import type { Renderer } from "./template/render.ts";

/** One set for all machines of a run. */
export function buildTools(request: BuildRequest, hashes: SourceHashes, parts: Parts, b3: Blake3): Tools {
  let rendering: Promise<{ readonly renderer: Renderer; readonly templates: TemplateCache }> | undefined;
  const hash = (text: string): string => b3.hash(text);
  let bundling: Promise<Bundler> | undefined;
  const templates = new Map<string, ReturnType<Tools["template"]>>();
  return {
    b3,
    hashes,
    parts,
    template: (file) => {
      let known = templates.get(file);
      if (!known) {
        const data = readFileSync(file);
        known = { text: data.toString("utf8"), hash: b3.hash(data) };
        templates.set(file, known);
      }
      return known;
    },
    rendering: () => {
      rendering ??= import("./template/render.ts").then(({ renderer }) => {
        const folder = request.templateCache;
        const file = folder && (join(folder, `templates-${hash(request.root).slice(0, 16)}`) as AbsPath);
        const templates = templateCache(file, request.tool, hash, !request.fromNothing);
        return { templates, renderer: renderer(parts.partial, hash, templates) };
      });
      return rendering;
    },
    saveTemplates: async () => (await rendering)?.templates.save(),
    bundler: () => {
      bundling ??= import("./bundle.ts").then((m) => m.bundler(request.root, request.builtInLayers));
      return bundling;
    },
  };
}
