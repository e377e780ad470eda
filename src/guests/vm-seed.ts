/**
 * Makes a cloud-init seed's ISO 9660 image, which a guest without cloud-init takes, too. Must not know what is in it.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type NamedText, SEED_LABEL } from "./vm-provision.ts";

/**
 * Does nothing where `file` is there: its name is the hash of what is in it, so that one that was cut short has another. Others
 * of its folder go. Rejects with what xorriso said.
 */
export async function makeSeed(file: string, files: readonly NamedText[]): Promise<void> {
  if (existsSync(file)) return;
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  for (const old of readdirSync(folder))
    if (old.startsWith("seed-")) rmSync(join(folder, old), { recursive: true });
  // Keys of who may log in are nobody else's to read.
  const contents = `${file}.files`;
  mkdirSync(contents, { mode: 0o700 });
  for (const { name, text } of files) writeFileSync(join(contents, name), text, { mode: 0o400 });
  const draft = `${file}.draft`;
  const form = ["-as", "genisoimage", "-quiet", "-volid", SEED_LABEL, "-joliet", "-rational-rock", "-no-pad"];
  const child = spawn("xorriso", [...form, "-o", draft, contents], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  rmSync(contents, { recursive: true });
  if (status !== 0) throw new Error(`xorriso made no seed: ${said.trim()}`);
  renameSync(draft, file);
}
