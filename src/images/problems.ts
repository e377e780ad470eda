/**
 * Every way in which an image can be refused or fail, and its one wording. Must not find out anything itself, nor print.
 */
import { type Diagnostic, type Place, problem } from "../diagnostics.ts";

export type ImageProblem =
  | {
      readonly kind: "image-value";
      readonly key: string;
      readonly value: string;
      readonly wanted: string;
      readonly place: Place;
    }
  | { readonly kind: "image-source-missing"; readonly place: Place }
  | { readonly kind: "image-proof-missing"; readonly place: Place }
  | {
      readonly kind: "image-undefined";
      readonly name: string;
      readonly looked: readonly string[];
      readonly near: string;
    }
  | { readonly kind: "image-name"; readonly name: string }
  | { readonly kind: "image-source-absent"; readonly source: string; readonly why: string }
  | {
      readonly kind: "image-digest";
      readonly source: string;
      readonly algorithm: "sha256" | "sha512";
      readonly wanted: string;
      readonly found: string;
    }
  | { readonly kind: "image-sums"; readonly sums: string; readonly file: string }
  | {
      readonly kind: "image-signature";
      readonly of: string;
      readonly keyring: string;
      readonly output: string;
    }
  | {
      readonly kind: "image-space";
      readonly folder: string;
      readonly neededBytes: number;
      readonly freeBytes: number;
      /** What the sum is made of. */
      readonly parts: readonly string[];
    }
  | { readonly kind: "image-arch"; readonly name: string; readonly found: string; readonly wanted: string }
  | { readonly kind: "image-content"; readonly name: string; readonly what: string; readonly help: string }
  | { readonly kind: "image-unsafe"; readonly name: string; readonly members: readonly string[] }
  | { readonly kind: "image-boot-missing"; readonly name: string; readonly why: string }
  | { readonly kind: "image-failed"; readonly name: string; readonly said: string }
  | {
      readonly kind: "image-step-failed";
      readonly step: string;
      readonly argv: readonly string[];
      readonly output: string;
    };

/** Words a problem; the code is its kind. Pure. */
export function describeImageProblem(p: ImageProblem): Diagnostic {
  switch (p.kind) {
    case "image-value":
      return problem(p.kind, `\`${p.key} = ${p.value}\` can't be`, {
        place: p.place,
        help: `write ${p.wanted}`,
      });
    case "image-source-missing":
      return problem(p.kind, "the image has no source", {
        place: p.place,
        help: "set `source` in [image], or write a [build] section",
      });
    case "image-proof-missing":
      return problem(p.kind, "nothing proves that what is fetched is what was meant", {
        place: p.place,
        help: "set `sha256`, or `signature` and `keyring` (and `sums`, if the signature is of a list of checksums)",
      });
    case "image-undefined":
      return problem(p.kind, `no file defines image \`${p.name}\``, {
        notes: p.looked.map((file) => `looked for: ${file}`),
        help: p.near,
      });
    case "image-name":
      return problem(p.kind, `\`${p.name}\` can't name an image`, {
        help: "lower-case letters, digits, `.`, `_` and `-`, at most 64, first and last a letter or digit",
      });
    case "image-source-absent":
      return problem(p.kind, `${p.source} can't be read: ${p.why}`, {
        notes: ["what was fetched of it so far is kept, and the next start goes on from there"],
        help: "correct the source, or start the unit again when it is there",
      });
    case "image-digest":
      return problem(p.kind, `${p.source} is not what was meant`, {
        notes: [
          `expected ${p.algorithm}: ${p.wanted}`,
          `found ${p.algorithm}:    ${p.found}`,
          "nothing of it was kept",
        ],
        help: "a damaged transfer is mended by starting the unit again; a source that changed needs its new digest",
      });
    case "image-sums":
      return problem(p.kind, `${p.sums} has no checksum of \`${p.file}\``, {
        help: "name the list that stands beside the image, SHA256SUMS or SHA512SUMS",
      });
    case "image-signature":
      return problem(p.kind, `the signature of ${p.of} does not hold`, {
        notes: [
          `keys: ${p.keyring}`,
          ...lastLines(p.output, 4).map((line) => `sqv: ${line}`),
          "nothing of it was used",
        ],
        help: "see whether signature and keyring are of the same publisher",
      });
    case "image-space":
      return problem(p.kind, `${size(p.neededBytes)} needed in ${p.folder}, ${size(p.freeBytes)} free`, {
        notes: p.parts,
        help: "make room there: `systemctl start image-gc` removes images that nothing uses",
      });
    case "image-arch":
      return problem(p.kind, `image \`${p.name}\` is for ${p.found}, wanted is ${p.wanted}`, {
        help: "choose the image for this machine, or set `arch` if it is meant for a virtual machine of another kind",
      });
    case "image-content":
      return problem(p.kind, `image \`${p.name}\` is ${p.what}`, { help: p.help });
    case "image-unsafe":
      return problem(p.kind, `image \`${p.name}\` holds what no root file system should`, {
        notes: [...p.members.map((member) => `member: ${member}`), "nothing of it was unpacked"],
        help: "do not use it; if it is yours, pack it without these",
      });
    case "image-boot-missing":
      return problem(p.kind, `image \`${p.name}\` has no kernel to take out: ${p.why}`, {
        help: "use an image with a kernel in /boot, or set `boot = no`",
      });
    case "image-failed":
      return problem(p.kind, `image \`${p.name}\`: ${p.said}`, {
        help: "see whether /var/lib/local can be written and has room; the next start goes on",
      });
    case "image-step-failed":
      return problem(p.kind, `could not ${p.step}`, {
        notes: [`command: ${p.argv.join(" ")}`, ...lastLines(p.output, 8).map((line) => `said: ${line}`)],
        help: "what it said tells why; nothing half done is used, and the next start begins this step anew",
      });
    default:
      return p satisfies never;
  }
}

/** `1.5 GB`, `20 MB`, `3 kB`. Pure. */
export function size(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= 1e6 ? `${Math.ceil(bytes / 1e6)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
}

function lastLines(output: string, most: number): readonly string[] {
  return output
    .split("\n")
    .filter((line) => line.trim() !== "")
    .slice(-most);
}
