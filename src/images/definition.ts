/**
 * What an image's definition says (etc/images/NAME.ini): where it comes from, how that is proved, what is made of it. The
 * build's lint and the program on the machine read it alike. Pure; must not know how anything is fetched.
 */
import { type Diagnostic, failure, type Place, type Result, success } from "../diagnostics.ts";
import { checkVocabulary, type IniSetting, parseIni, settingsOf, splitList } from "../project/ini-file.ts";
import { describeImageProblem } from "./problems.ts";

export type ImageKind = "tree" | "disk";

/** Debian's names. */
export const ARCHITECTURES = ["amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x"] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

export type ImageSource =
  /** `url` is http or https, without a user's name or password in it. */
  | { readonly kind: "web"; readonly url: string }
  | { readonly kind: "file"; readonly path: string }
  /** An OCI layout, as a folder or as a tar archive; `reference` undefined: the only image in it. */
  | { readonly kind: "layout"; readonly archive: boolean; readonly path: string; readonly reference?: string }
  /** `repository` with its host; `tls` false: plain HTTP, which the digest makes safe. */
  | { readonly kind: "registry"; readonly repository: string; readonly tls: boolean }
  | {
      readonly kind: "build";
      readonly suite: string;
      /** May be empty. */
      readonly packages: readonly string[];
      readonly variant: string;
      readonly components: readonly string[];
      /** Undefined: Debian's own. */
      readonly mirror?: string;
      /** Absolute; undefined: what mmdebstrap trusts for that suite. */
      readonly keyring?: string;
    };

/** How what was fetched is known to be what was meant. `sums`, `signature`: URLs as of `source`; `keyring`: absolute. */
export type ImageProof =
  /** Of the file; of an OCI image, of its manifest (or of the index of manifests). Lower case. */
  | { readonly kind: "sha256"; readonly sha256: string }
  /** A signed list of checksums, in which the source's file name stands. */
  | { readonly kind: "sums"; readonly sums: string; readonly signature: string; readonly keyring: string }
  /** A signature of the file itself. */
  | { readonly kind: "signature"; readonly signature: string; readonly keyring: string }
  /** A build: apt checks each package. */
  | { readonly kind: "archive" };

export interface ImageDefinition {
  readonly name: string;
  readonly source: ImageSource;
  readonly proof: ImageProof;
  /** Undefined: as its content shows. */
  readonly imageKind?: ImageKind;
  /** Undefined: the machine's own, and any other is refused. */
  readonly arch?: Architecture;
  /** Whether kernel and initrd are taken out of it. */
  readonly boot: boolean;
}

/** Where keyrings lie that are named without a folder. */
export const KEY_FOLDER = "/usr/local/etc/images/keys";

/** mmdebstrap(1); `custom` installs only what is named. */
const VARIANTS = ["extract", "custom", "essential", "apt", "required", "minbase", "important", "standard"];

const IMAGE_KEYS = [
  "source",
  "sha256",
  "sums",
  "signature",
  "keyring",
  "kind",
  "arch",
  "boot",
  "tls",
] as const;
const BUILD_KEYS = ["suite", "packages", "variant", "components", "mirror", "keyring"] as const;

/** Reads the text of NAME.ini; `file` is for messages. All problems at once. Pure. */
export function parseDefinition(text: string, name: string, file: string): Result<ImageDefinition> {
  const { ini, problems: syntax } = parseIni(text, file);
  const problems: Diagnostic[] = [
    ...syntax,
    ...checkVocabulary(ini, { image: IMAGE_KEYS, build: BUILD_KEYS }),
  ];
  const of = (section: string): ReadonlyMap<string, IniSetting> =>
    new Map(settingsOf(ini, section).map((setting) => [setting.key, setting]));
  const image = of("image");
  const building = ini.sections.find((section) => section.name === "build");
  const build = building && of("build");
  const bad = (setting: IniSetting, wanted: string): undefined => {
    const { key, value, place } = setting;
    problems.push(describeImageProblem({ kind: "image-value", key, value, wanted, place }));
    return undefined;
  };
  const pick = <T extends string>(key: string, from: readonly T[]): T | undefined => {
    const setting = image.get(key);
    if (setting === undefined) return undefined;
    return from.find((one) => one === setting.value) ?? bad(setting, `one of ${from.join(", ")}`);
  };
  const imageKind = pick("kind", ["tree", "disk"] as const);
  const arch = pick("arch", ARCHITECTURES);
  const boot = pick("boot", ["yes", "no"] as const) === "yes";
  const tls = pick("tls", ["yes", "no"] as const) !== "no";
  const source =
    building && build ? readBuild(build, building.place, bad) : readSource(image.get("source"), tls, bad);
  const proof = build === undefined ? readProof(image, source, bad) : ({ kind: "archive" } as const);
  if (build !== undefined)
    for (const key of ["source", "sha256", "sums", "signature", "keyring", "tls"]) {
      const setting = image.get(key);
      if (setting) bad(setting, "nothing here: [build] says where the image comes from");
    }
  const whole = { file };
  if (build === undefined && !image.has("source"))
    problems.push(describeImageProblem({ kind: "image-source-missing", place: whole }));
  else if (problems.length === 0 && proof === undefined)
    problems.push(describeImageProblem({ kind: "image-proof-missing", place: whole }));
  if (problems.length > 0 || source === undefined || proof === undefined) return failure(...problems);
  const optional = { ...(imageKind ? { imageKind } : {}), ...(arch ? { arch } : {}) };
  return success({ name, source, proof, boot, ...optional });
}

type Bad = (setting: IniSetting, wanted: string) => undefined;

function readSource(setting: IniSetting | undefined, tls: boolean, bad: Bad): ImageSource | undefined {
  if (setting === undefined) return undefined;
  const { value } = setting;
  if (/^https?:\/\//.test(value)) {
    if (isWebAddress(value)) return { kind: "web", url: value };
    return bad(setting, "a URL without blanks, user and password");
  }
  const file = /^file:\/\/(\/[^\0]+)$/.exec(value)?.[1];
  if (file !== undefined) return { kind: "file", path: file };
  const layout = /^(oci|oci-archive):(\/[^:\s]+)(?::([\w][\w.-]{0,127}))?$/.exec(value);
  if (layout) {
    const [, form, path = "", reference] = layout;
    return { kind: "layout", archive: form === "oci-archive", path, ...(reference ? { reference } : {}) };
  }
  const repository = /^docker:\/\/([a-z0-9.-]+(?::\d+)?(?:\/[a-z0-9._-]+)+)$/.exec(value)?.[1];
  if (repository !== undefined) return { kind: "registry", repository, tls };
  if (value.startsWith("docker://"))
    return bad(setting, "docker://HOST/REPOSITORY without a tag: sha256 says which image of it");
  return bad(
    setting,
    "http://…, https://…, file:///PATH, oci:/FOLDER[:TAG], oci-archive:/FILE[:TAG] or docker://HOST/REPOSITORY",
  );
}

function readBuild(
  settings: ReadonlyMap<string, IniSetting>,
  place: Place,
  bad: Bad,
): ImageSource | undefined {
  const word = (key: string, form: RegExp, wanted: string): string | undefined => {
    const setting = settings.get(key);
    if (setting === undefined) return undefined;
    return form.test(setting.value) ? setting.value : bad(setting, wanted);
  };
  const words = (key: string, form: RegExp, wanted: string): readonly string[] => {
    const setting = settings.get(key);
    const list = splitList(setting?.value ?? "");
    if (setting && !list.every((one) => form.test(one))) bad(setting, wanted);
    return list;
  };
  const suite = word("suite", /^[a-z][a-z0-9-]*$/, "a suite such as trixie");
  const variant = settings.get("variant");
  if (variant && !VARIANTS.includes(variant.value)) bad(variant, `one of ${VARIANTS.join(", ")}`);
  const mirror = word(
    "mirror",
    /^(https?|file):\/\/[^\s[\]]+$/,
    "the URL of a Debian archive, without options: apt has to check its signature",
  );
  const keyring = settings.get("keyring");
  const keys = keyring && readKeyring(keyring, bad);
  const packages = words("packages", /^[a-z0-9][a-z0-9+.-]+$/, "names of Debian packages");
  const components = words("components", /^[a-z0-9-]+$/, "components such as main");
  if (suite === undefined) {
    if (!settings.has("suite")) bad({ key: "suite", value: "", place }, "a suite such as trixie");
    return undefined;
  }
  return {
    kind: "build",
    suite,
    packages,
    variant: variant?.value ?? "apt",
    components: components.length > 0 ? components : ["main"],
    ...(mirror ? { mirror } : {}),
    ...(keys ? { keyring: keys } : {}),
  };
}

function readProof(
  image: ReadonlyMap<string, IniSetting>,
  source: ImageSource | undefined,
  bad: Bad,
): ImageProof | undefined {
  const [sha, sums, signature, keyring] = [
    image.get("sha256"),
    image.get("sums"),
    image.get("signature"),
    image.get("keyring"),
  ];
  if (sha) {
    for (const other of [sums, signature, keyring])
      if (other) bad(other, "nothing here: sha256 says already which file it is");
    const hex = sha.value.toLowerCase();
    return /^[0-9a-f]{64}$/.test(hex) ? { kind: "sha256", sha256: hex } : bad(sha, "64 hexadecimal digits");
  }
  if (source?.kind === "layout" || source?.kind === "registry") {
    for (const other of [sums, signature, keyring])
      if (other) bad(other, "nothing here: an OCI image is known by `sha256`, its manifest's digest");
    return undefined;
  }
  const place = (setting: IniSetting): string | undefined =>
    isWebAddress(setting.value) || /^file:\/\/\/./.test(setting.value)
      ? setting.value
      : bad(setting, "http://…, https://… or file:///PATH");
  const keys = keyring && readKeyring(keyring, bad);
  const signed = signature && place(signature);
  const list = sums && place(sums);
  if (!signature || !keyring) {
    const lone = sums ?? signature ?? keyring;
    if (lone)
      bad(
        lone,
        "`signature` and `keyring` together (and `sums`, where the signature is of a list of checksums)",
      );
    return undefined;
  }
  if (!signed || !keys || (sums && !list)) return undefined;
  return list
    ? { kind: "sums", sums: list, signature: signed, keyring: keys }
    : { kind: "signature", signature: signed, keyring: keys };
}

function readKeyring(setting: IniSetting, bad: Bad): string | undefined {
  const { value } = setting;
  if (/^\/[^\0]+$/.test(value)) return value;
  if (/^[A-Za-z0-9][\w.-]*$/.test(value)) return `${KEY_FOLDER}/${value}`;
  return bad(setting, `an absolute path, or the name of a file in ${KEY_FOLDER}`);
}

function isWebAddress(text: string): boolean {
  if (!/^https?:\/\/[!-~]+$/.test(text) || !URL.canParse(text)) return false;
  const url = new URL(text);
  return url.username === "" && url.password === "" && url.hash === "";
}
