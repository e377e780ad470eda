/** A kit as the programs write it and as the shell script reads it: one that is whole, and every part of one. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { ADDRESS_MARK, fileFields, hashInputs, type KitFile, kitText } from "../../src/guests/kit.ts";
import { temporaryFolder } from "../temporary-repository.ts";

const SCRIPT = fileURLToPath(new URL("../../layers/guests/libexec/guests/kit", import.meta.url));

interface Laid {
  readonly folder: string;
  readonly kit: string;
  readonly files: readonly KitFile[];
  /** Runs the script's two halves: true if the kit was taken. */
  layOut(): boolean;
}

function kept(t: TestContext): Laid {
  const folder = temporaryFolder("kit");
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const input = join(folder, "an input");
  writeFileSync(input, "1");
  const inputs = [input, join(folder, "none")];
  const files: KitFile[] = [
    {
      file: join(folder, "one & 'two'"),
      mode: "644",
      text: `a ${ADDRESS_MARK}\n\\& $HOME \`x\``,
      isAddressed: true,
    },
    { file: join(folder, "key"), mode: "600", text: "-n\n\n" },
    { file: join(folder, "credential"), mode: "400", text: "" },
  ];
  const text = kitText(inputs, hashInputs(inputs), ["head", ...(fileFields(files) ?? [])]);
  assert.ok(text !== undefined);
  const kit = join(folder, "the.kit");
  writeFileSync(kit, text);
  const program = `set -eu; . "$0"; kit=(); open_kit "$1" || exit 9; [ "\${kit[0]}" = head ]; write_kit_files 1 "$2" "$3"`;
  const layOut = (): boolean => {
    const ran = spawnSync("bash", ["-c", program, SCRIPT, kit, ADDRESS_MARK, "10.0.0.2"], {
      encoding: "utf8",
    });
    assert.ok(ran.status === 0 || ran.status === 9, ran.stderr);
    return ran.status === 0;
  };
  return { folder, kit, files, layOut };
}

test("a kit that was cut short anywhere, or whose input changed, came or went, is not taken", (t) => {
  const { folder, kit, layOut } = kept(t);
  const whole = readFileSync(kit, "utf8");
  const ends = [...whole.matchAll(/\0/g)].map((m) => m.index);
  for (const length of [0, 1, ...ends.flatMap((at) => [at, at + 1])].filter((n) => n < whole.length - 1)) {
    writeFileSync(kit, whole.slice(0, length));
    assert.equal(layOut(), false, `${length} of ${whole.length}`);
  }
  writeFileSync(kit, whole);
  for (const [file, text] of [
    ["an input", "2"],
    ["none", "it came"],
  ] as const) {
    const before = file === "none" ? undefined : "1";
    writeFileSync(join(folder, file), text);
    assert.equal(layOut(), false, file);
    if (before === undefined) rmSync(join(folder, file));
    else writeFileSync(join(folder, file), before);
  }
  assert.equal(layOut(), true, "control");
});

test("files are written with their modes and bytes, the address in its place, whatever shells make of their texts", (t) => {
  const { files, layOut } = kept(t);
  assert.equal(layOut(), true);
  for (const { file, mode, text } of files) {
    assert.equal(readFileSync(file, "utf8"), text.replaceAll(ADDRESS_MARK, "10.0.0.2"));
    assert.equal((statSync(file).mode & 0o777).toString(8), mode);
  }
});

test("there is no kit of what it can't hold", () => {
  assert.equal(kitText([], "", ["a\0b"]), undefined);
  assert.equal(fileFields([{ file: "/f", mode: "644", text: `his own ${ADDRESS_MARK}` }]), undefined);
});
