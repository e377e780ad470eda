/**
 * OCI's documents, as far as they matter here: index, manifest, configuration. What comes from outside is looked at before it
 * is believed. Pure; must not know where documents lie.
 *
 * Format: OCI image specification 1.0; Docker's manifest v2 schema 2 has the same fields.
 */

import type { ContainerCommand } from "../guests/container.ts";

export interface OciIndex {
  readonly kind: "index";
  readonly manifests: readonly {
    /** Hexadecimal SHA-256, without the algorithm's name. */
    readonly digest: string;
    /** `org.opencontainers.image.ref.name`; undefined: it has none. */
    readonly reference: string | undefined;
    /** As OCI names it, with `/` and the variant; undefined: not said. */
    readonly platform:
      | { readonly architecture: string; readonly os: string; readonly variant: string }
      | undefined;
  }[];
}

export interface OciManifest {
  readonly kind: "manifest";
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly size: number }[];
}

export interface OciConfig {
  readonly architecture?: string;
  readonly variant?: string;
  readonly config?: {
    readonly Entrypoint?: readonly string[] | null;
    readonly Cmd?: readonly string[] | null;
    readonly Env?: readonly string[] | null;
    readonly User?: string;
    readonly WorkingDir?: string;
  };
}

type Fields = Readonly<Record<string, unknown>>;

/** An index or a manifest; undefined: neither, or damaged, or with other digests than SHA-256. Pure. */
export function parseDocument(text: string): OciIndex | OciManifest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const document = fields(value);
  if (Array.isArray(document.manifests)) {
    const manifests = document.manifests.map((entry) => {
      const { digest, annotations, platform } = fields(entry);
      const name = fields(annotations)["org.opencontainers.image.ref.name"];
      const on = fields(platform);
      return {
        digest: hex(digest),
        reference: typeof name === "string" ? name : undefined,
        platform:
          typeof on.architecture === "string"
            ? { architecture: on.architecture, os: String(on.os ?? ""), variant: String(on.variant ?? "") }
            : undefined,
      };
    });
    return manifests.every((entry) => entry.digest !== "") ? { kind: "index", manifests } : undefined;
  }
  const config = hex(fields(document.config).digest);
  if (config === "" || !Array.isArray(document.layers)) return undefined;
  const layers = document.layers.map((layer) => ({ size: Number(fields(layer).size) }));
  if (!layers.every((layer) => Number.isSafeInteger(layer.size) && layer.size >= 0)) return undefined;
  return { kind: "manifest", config: { digest: config }, layers };
}

/** The manifest of an index for Linux on `arch`, or the architectures that it has instead. Pure. */
export function chooseManifest(
  index: OciIndex,
  arch: string,
): { readonly digest: string } | { readonly found: readonly string[] } {
  const linux = index.manifests.filter(({ platform }) => !platform || platform.os === "linux");
  const named = linux.map(({ digest, platform }) => ({
    digest,
    arch: platform && debianArchitecture(platform.architecture, platform.variant),
  }));
  const fitting = named.find((one) => one.arch === arch) ?? (named.length === 1 ? named[0] : undefined);
  // A single one without a platform is judged by its configuration.
  if (fitting && (fitting.arch === undefined || fitting.arch === arch)) return { digest: fitting.digest };
  return { found: [...new Set(named.map((one) => one.arch ?? "an unnamed one"))].sort() };
}

/** Debian's name of an architecture that is named as Go does; unknown ones as they are. Pure. */
export function debianArchitecture(go: string | undefined, variant = ""): string {
  const names: Readonly<Record<string, string>> = { "386": "i386", ppc64le: "ppc64el" };
  if (go === "arm") return variant === "v6" || variant === "v5" ? "armel" : "armhf";
  return names[go ?? ""] ?? go ?? "no architecture";
}

/**
 * Entrypoint with arguments, environment, user and folder of a configuration. A group is left out: nspawn gives the user's
 * own. Undefined user and folder: root's, `/`. Pure.
 */
export function commandOf({ config = {} }: OciConfig): ContainerCommand {
  const user = (config.User ?? "").replace(/:.*/, "");
  return {
    argv: [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])],
    env: [...(config.Env ?? [])],
    ...(user !== "" && user !== "0" && user !== "root" ? { user } : {}),
    ...(config.WorkingDir ? { cwd: config.WorkingDir } : {}),
  };
}

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function hex(digest: unknown): string {
  return typeof digest === "string" ? (/^sha256:([0-9a-f]{64})$/.exec(digest)?.[1] ?? "") : "";
}
