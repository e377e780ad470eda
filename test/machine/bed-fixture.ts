/**
 * Real machines for tests: brings a test file into private namespaces, and boots machines there for its tests.
 * Whatever a host lacks fails the test file with a list; nothing is ever skipped.
 */

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { after, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { type Diagnostic, formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import { type Bed, openBed } from "../../src/twin/bed.ts";
import { checkHost } from "../../src/twin/host-support.ts";
import { ensureImage, type Image } from "../../src/twin/image.ts";
import { IMAGE_SUITE, type ImageSuite } from "../../src/twin/image-recipe.ts";
import type { Machine } from "../../src/twin/machine.ts";
import { isInNamespaces, runInNamespaces } from "../../src/twin/namespace.ts";

/** Packages that tests need in the machines, besides the base set. */
export const TEST_PACKAGES: readonly string[] = [
  "nginx-light",
  "curl",
  "nodejs",
  "dnsmasq-base",
  "busybox",
  "udev",
  "wireguard-tools",
  "wireguard-go",
  "systemd-container",
  "btrfs-progs",
  "zstd",
];

/** The value, or an Error with every problem's printed form: in a test, an expected failure is not expected. */
export function unwrap<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new Error(formatAll(result.problems));
}

/** What fetches, builds and unpacks images, and a registry to fetch from. */
const IMAGE_PACKAGES: readonly string[] = [
  ...["btrfs-progs", "bzip2", "docker-registry", "e2fsprogs", "mmdebstrap", "qemu-utils", "skopeo", "sqv"],
  ...["umoci", "xz-utils", "zstd"],
];

/**
 * What machines of single test files need besides, by the file's name: an image of their own, so that all others stay small.
 * A file that stands here opens its bed with `sharedBed(EXTRA_PACKAGES["NAME"])`.
 */
export const EXTRA_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "container-oci.test.ts": IMAGE_PACKAGES,
  "images.test.ts": IMAGE_PACKAGES,
  "vms.test.ts": [
    ...["btrfs-progs", "ovmf", "qemu-system-x86", "qemu-utils", "socat", "swtpm", "xorriso"],
    // What the layer `images` names, with which machines of virtual machines get their disks.
    ...["bzip2", "e2fsprogs", "sqv", "xz-utils", "zstd"],
  ],
};

/** What `LABCTL_TEST_SUITE` says; undefined: the newest. Machines of all test files are of that Debian. */
const ASKED_SUITE = ((asked: string | undefined): ImageSuite | undefined => {
  if (asked === undefined || asked === "bookworm" || asked === "trixie") return asked;
  throw new Error(`LABCTL_TEST_SUITE is bookworm or trixie, not ${asked}`);
})(process.env.LABCTL_TEST_SUITE);

/** All packages that layers name, so that a push of any of them installs nothing. */
export function layerPackages(): readonly string[] {
  const layers = join(import.meta.dirname, "../../layers");
  return readdirSync(layers).flatMap((layer) =>
    (/^packages = (.*)$/m.exec(readFileSync(join(layers, layer, "layer.ini"), "utf8"))?.[1] ?? "")
      .split(/,\s*/)
      .filter(Boolean),
  );
}

/** Images besides the machines' own that single test files need, built where there is a network. */
const OTHER_IMAGES: Readonly<Record<string, () => Promise<unknown>>> = {
  "bookworm.test.ts": async () => {
    await testImage(layerPackages(), "bookworm");
    await (await import("./guest-fixture.ts")).guestImage();
  },
  "twin-command.test.ts": async () => (await import("./guest-fixture.ts")).guestImage(),
  "vms.test.ts": async () => (await import("./vm-image.ts")).vmImage(),
};

/**
 * The tests' image, with `extra` packages, built on first use; builds only outside the namespaces, where there is a
 * network.
 */
export async function testImage(
  extra: readonly string[] = [],
  suite: ImageSuite = ASKED_SUITE ?? IMAGE_SUITE,
): Promise<Image> {
  const packages = [...TEST_PACKAGES, ...extra];
  return unwrap(await ensureImage({ packages, suite, onProgress: (line) => console.error(line) }));
}

/**
 * First statement of a test file that boots machines: `await enterNamespaces(import.meta.url)`. Outside, runs the file
 * again inside and exits with its status; inside, returns at once.
 */
export async function enterNamespaces(fileUrl: string): Promise<void> {
  if (isInNamespaces()) return;
  process.exit(await runPrepared([process.execPath, "--import", "tsx", fileURLToPath(fileUrl)]));
}

/**
 * Checks the host, makes sure of the image, and runs `argv` in namespaces; answers its exit status, 1 with a list on
 * standard error where the host can't boot machines.
 */
export async function runPrepared(argv: readonly string[]): Promise<number> {
  const host = checkHost();
  if (!host.ok) return refuse(host.problems);
  if (host.warnings.length > 0) console.error(formatAll(host.warnings));
  const files = argv.map((word) => basename(word));
  // The plain one only where some file uses it.
  const tests = files.filter((name) => name.endsWith(".test.ts"));
  if (tests.length === 0 || tests.some((name) => !EXTRA_PACKAGES[name])) await testImage();
  for (const name of files) if (EXTRA_PACKAGES[name]) await testImage(EXTRA_PACKAGES[name]);
  for (const name of files) await OTHER_IMAGES[name]?.();
  const ended = await runInNamespaces(argv);
  return ended.ok ? ended.value : refuse(ended.problems);
}

/**
 * One bed for all tests of a file, opened at the first call, closed after the last test. Machines boot faster in a bed
 * that stands (0.6 s) than in one of their own (1.3 s).
 */
export function sharedBed(extra: readonly string[] = [], suite?: ImageSuite): () => Promise<Bed> {
  let bed: Promise<Bed> | undefined;
  after(async () => (await bed)?.close());
  return () => {
    bed ??= testImage(extra, suite).then(async (image) => unwrap(await openBed({ image, keepsPool: true })));
    return bed;
  };
}

let count = 0;

/** Boots a fresh machine in `bed` and runs `use`; powers it off afterwards, and shows its console if `use` threw. */
export async function withMachine(
  t: TestContext,
  bed: Bed,
  use: (machine: Machine, bed: Bed) => Promise<void>,
): Promise<void> {
  count += 1;
  const machine = unwrap(await bed.boot({ name: `m${count}` }));
  try {
    await use(machine, bed);
  } catch (error) {
    t.diagnostic(`console of ${machine.name}: ${machine.console().slice(-2000)}`);
    throw error;
  } finally {
    await machine.kill();
  }
}

function refuse(problems: readonly Diagnostic[]): number {
  console.error(formatAll(problems));
  return 1;
}

function formatAll(list: readonly Diagnostic[]): string {
  return list.map(formatDiagnostic).join("\n");
}
