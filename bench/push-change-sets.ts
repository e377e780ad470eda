/** Times the two ways in which files can get into a stage, over one open connection: rsync, and a tar archive on a channel. */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { blake3 } from "../src/hash.ts";
import type { AbsPath } from "../src/paths.ts";
import { connect } from "../src/push/ssh/connect.ts";
import { packParcel } from "../src/push/stage/parcel.ts";
import { sendFiles } from "../src/push/stage/rsync.ts";
import { diffTrees } from "../src/push/tree-diff.ts";
import { unwrap } from "../test/machine/bed-fixture.ts";
import { file, manifestOf } from "../test/push/manifest-of.ts";
import { temporaryFolder } from "../test/temporary-repository.ts";
import { compareInTurn, type Figure, type Subject } from "./figures.ts";
import type { BenchMachine } from "./push-machine.ts";

const STAGE = "/var/tmp/stage";
const UNPACK = `mkdir -p ${STAGE} && head -c "$1" >${STAGE}/parcel && sha256sum ${STAGE}/parcel >/dev/null && tar -xpf ${STAGE}/parcel -C ${STAGE}`;

/** Files × bytes of each. */
const SETS = [
  [1, 1_000],
  [10, 2_000],
  [100, 2_000],
  [200, 1_300],
  [1000, 2_000],
  [1, 256_000],
  [1, 4_000_000],
] as const;

export async function changeSetFigures(bench: BenchMachine, rounds: number): Promise<readonly Figure[]> {
  const b3 = await blake3();
  const transport = unwrap(
    await connect(
      { host: bench.name, identityFiles: [] },
      { acceptNew: false, timeoutMs: 10_000, configFile: bench.sshConfig, env: bench.env },
    ),
  );
  const subjects: Subject[] = [];
  for (const [count, sizeBytes] of SETS) {
    const folder = temporaryFolder("bench-set", true) as AbsPath;
    const entries = Array.from({ length: count }, (_, i) => {
      // Text compresses and repeats; random bytes are the worst case for either.
      const text = randomBytes(sizeBytes / 2).toString("hex");
      const path = `opt/s${count}/d${i % 7}/f${i}`;
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
      return { ...file(path, "0"), hash: b3.hash(text), sizeBytes: text.length };
    });
    const changes = diffTrees(undefined, manifestOf(entries));
    const what = `${count} × ${sizeBytes / 1000} kB`;
    const clean = async (): Promise<void> => {
      unwrap(await transport.exec(`rm -rf ${STAGE}; mkdir ${STAGE}`, { maxStdoutBytes: 1000 }));
    };
    subjects.push({
      name: `${what} by rsync`,
      measure: async () => {
        await clean();
        const startedAt = performance.now();
        const job = { sourceRoot: folder, destination: STAGE, sudo: false, deltaFrom: "/usr/local" };
        unwrap(await sendFiles(transport, { ...job, files: changes.map((c) => c.path) }));
        return performance.now() - startedAt;
      },
    });
    subjects.push({
      name: `${what} as a stream`,
      measure: async () => {
        await clean();
        const startedAt = performance.now();
        const { bytes } = unwrap(packParcel("bench", folder, changes, "{}", b3));
        const command = `bash -c '${UNPACK}' x ${bytes.length}`;
        const done = unwrap(await transport.exec(command, { stdin: bytes, maxStdoutBytes: 1000 }));
        if (done.status !== 0) throw new Error(done.stderr);
        return performance.now() - startedAt;
      },
    });
  }
  try {
    return await compareInTurn(subjects, rounds);
  } finally {
    await transport.close();
  }
}
