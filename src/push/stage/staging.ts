/**
 * How the files of a built tree get into a machine's stage: a small change set as a parcel that goes along with the
 * commit, a large one by rsync before it. Must not know what the commit does with them.
 */
import type { Manifest } from "../../build/manifest.ts";
import { failure, type Result, success } from "../../diagnostics.ts";
import { blake3 } from "../../hash.ts";
import type { AbsPath } from "../../paths.ts";
import { stagedPaths } from "../operations.ts";
import type { PushPlan } from "../plan.ts";
import { describe } from "../problems.ts";
import { type OpenCredential, stageSecrets } from "../secrets.ts";
import { STATE } from "../session.ts";
import { shellWord } from "../shell-word.ts";
import { asRoot, needsSudo } from "../sudo.ts";
import type { WantedTree } from "../survey.ts";
import type { Transport } from "../transport.ts";
import { isSmall, type Parcel, packParcel } from "./parcel.ts";
import { sendFiles } from "./rsync.ts";

/** A tree on this host. */
export type BuiltTree = WantedTree & {
  readonly manifest: Manifest;
  readonly folder: AbsPath;
  readonly manifestFile: AbsPath;
};

export interface Staged {
  /** What was sent, as far as it was sent already. */
  readonly bytes: number;
  /** Still to be sent, before the operations of the commit. Undefined: the stage holds everything. */
  readonly parcel?: Parcel;
}

/** Makes the stage folder on the machine. */
export type BeginStage = () => Promise<Result<unknown>>;

/** Has everything staged that a plan puts; calls `begin` before anything is put into the stage folder. */
export type StageFiles = (plan: PushPlan, session: string, begin: BeginStage) => Promise<Result<Staged>>;

/**
 * Effects of the result: reads the tree; for a large change set, and for credentials, `begin`, and channels of
 * `transport`.
 */
export function stageBuilt(
  transport: Transport,
  machine: string,
  wanted: BuiltTree,
  manifestText: string,
  credentials: readonly OpenCredential[],
): StageFiles {
  return async (plan, session, begin) => {
    // The machine makes those itself.
    const files = stagedPaths(plan.files).filter((f) => f.after?.type !== "secret");
    if (credentials.length > 0) {
      const begun = await begin();
      const encrypted = begun.ok ? await stageSecrets(transport, machine, session, credentials) : begun;
      if (!encrypted.ok) return encrypted;
    }
    if (isSmall(files, manifestText.length)) {
      const parcel = packParcel(machine, wanted.folder, files, manifestText, await blake3());
      return parcel.ok ? success({ bytes: parcel.value.bytes.length, parcel: parcel.value }) : parcel;
    }
    const begun = await begin();
    if (!begun.ok) return begun;
    const folder = `${STATE}/stage/${session}`;
    const [sent, manifest] = await Promise.all([
      sendFiles(transport, {
        sourceRoot: wanted.folder,
        files: files.map((f) => f.path),
        destination: `${folder}/tree`,
        sudo: needsSudo(transport),
        deltaFrom: "/usr/local",
      }),
      sendManifest(transport, machine, `${folder}/manifest.json`, manifestText),
    ]);
    if (!sent.ok) return sent;
    return manifest.ok ? success({ bytes: sent.value.bytesSent }) : manifest;
  };
}

async function sendManifest(
  transport: Transport,
  machine: string,
  file: string,
  text: string,
): Promise<Result<void>> {
  const root = asRoot(transport);
  const line = [...root.words, "sh", "-c", shellWord(`cat >${shellWord(file)}`)].join(" ");
  const stdin = root.input + text;
  const result = await transport.exec(line, { stdin, maxStdoutBytes: 1024, timeoutMs: 120_000 });
  if (!result.ok) return result;
  if (result.value.status === 0) return success(undefined);
  const detail = result.value.stderr.trim().split("\n").at(-1) ?? "";
  return failure(
    describe({
      kind: "remote",
      machine,
      verb: "stage",
      done: "failed-unchanged",
      code: "commit-refused",
      detail,
      more: [],
    }),
  );
}
