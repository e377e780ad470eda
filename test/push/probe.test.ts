/** What a machine says is untrusted: records in any pieces, and probes that are nonsense, huge or hostile. */
import assert from "node:assert/strict";
import test from "node:test";
import { gzipSync } from "node:zlib";
import { manifestText } from "../../src/build/manifest.ts";
import type { UnitName } from "../../src/paths.ts";
import { readProbe } from "../../src/push/probe.ts";
import { parseRecords, RecordReader } from "../../src/push/records.ts";
import { seededRandom } from "../seeded-random.ts";
import { file, manifestOf } from "./manifest-of.ts";

const ID = "ab".repeat(32);

/** A whole and ordinary answer; `more` goes before `done`. */
function answer(more = "", generation = `generation\t3\t${ID}`): string {
  const head = "labctl\t1\nhost\tgw\nclock\t1700000000\n";
  const state =
    "journal\tno\npending\tno\nundo\tno\nwritable\tyes\nrsync\tyes\nfree\t1000000\nsystemd\t257\n";
  return `${head}${generation}\n${state}drift\tnone\n${more}done\tok\n`;
}

function probe(text: string, asked: readonly string[] = []) {
  return readProbe(parseRecords(Buffer.from(text)), new Set(asked));
}

function units(text: string): string {
  return `data\tunits\t${Buffer.byteLength(text)}\n${text}\n`;
}

test("an answer that is none of ours, of another protocol or not whole is no probe", () => {
  assert.equal(probe(""), undefined);
  assert.equal(probe("Welcome to gw!\nLast login: today\n"), undefined);
  assert.equal(probe(answer().replace("labctl\t1", "labctl\t2")), undefined);
  assert.equal(probe(answer().replace("done\tok\n", "")), undefined);
  assert.equal(probe(answer().replace("done\tok", "done\tfailed-unchanged")), undefined);
  assert.ok(probe(answer()), "control");
  assert.ok(probe(`Welcome!\n${answer()}`), "a login greeting before it does no harm");
});

test("an ordinary answer is read whole", () => {
  const p = probe(answer("failed\tx.service\npackage\tnginx\tmissing\npackage\tcurl\tinstalled\n"));
  assert.deepEqual(p?.generation, { number: 3, id: ID });
  assert.deepEqual([p?.systemdVersion, p?.hasRsync, p?.pending, p?.undo], [257, true, false, undefined]);
  assert.deepEqual([...(p?.missingPackages ?? [])], ["nginx"]);
  assert.deepEqual(p?.failedUnits, ["x.service"]);
});

test("a unit whose name has an escape is known by that name, whether systemctl quotes it or not", () => {
  for (const shown of ['"by\\\\x2dhand.service"', "by\\x2dhand.service"]) {
    const p = probe(
      answer(
        units(`Id=a.service\nNames=a.service ${shown}\nActiveState=active\nConsistsOf=${shown} b.service\n`),
      ),
      ["by\\x2dhand.service"],
    );
    assert.deepEqual(p?.units.get("a.service" as UnitName)?.dependents, ["by\\x2dhand.service", "b.service"]);
    assert.ok(p?.units.has("by\\x2dhand.service" as UnitName), shown);
  }
});

test("a generation that is no number or has no id counts as none", () => {
  for (const bad of [
    "0\t-",
    `-1\t${ID}`,
    `1e99\t${ID}`,
    `1.5\t${ID}`,
    `NaN\t${ID}`,
    "3\tshort",
    `3\t${ID.toUpperCase()}`,
    "",
  ]) {
    assert.equal(probe(answer("", `generation\t${bad}`))?.generation, undefined, bad);
  }
});

test("a claim of a gigabyte waits for bytes that never come, and takes none", () => {
  const before = process.memoryUsage().arrayBuffers;
  const records = parseRecords(Buffer.from(`labctl\t1\ndata\tunits\t1073741824\nshort\ndone\tok\n`));
  assert.deepEqual(
    records.map((r) => r.name),
    ["labctl"],
  );
  assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 20);
});

test("a manifest that is no gzip, no manifest, or a bomb is none", () => {
  const packed = (data: Buffer): string => data.toString("base64");
  const manifest = (text: string) => {
    const more = `data\tmanifest.gz.base64\t${text.length}\n${text}\n`;
    return probe(answer(more))?.manifest;
  };
  assert.equal(manifest("!!!"), undefined);
  assert.equal(manifest(packed(gzipSync("{}"))), undefined);
  assert.equal(manifest(packed(gzipSync(Buffer.alloc(300 << 20), { level: 1 }))), undefined);
  const good = manifestOf([file("etc/x", "1")]);
  assert.deepEqual(manifest(packed(gzipSync(manifestText(good)))), good, "control");
});

test("shell syntax, prototypes and terminal codes in names stay what they are: text", () => {
  const evil = "$(reboot)`id`;.service";
  const block = `Id=${evil}\nNames=${evil} __proto__\nLoadState=loaded\nActiveState=active\nconstructor=x\n\u001b[2J=1\n`;
  const p = probe(answer(`${units(block)}drifted\t../../etc/passwd\nfailed\t__proto__\n`), ["__proto__"]);
  assert.deepEqual([...(p?.units.keys() ?? [])], [evil, "__proto__"]);
  assert.deepEqual([...(p?.drifted ?? [])], ["../../etc/passwd"]);
  assert.equal(({} as Record<string, unknown>).loadState, undefined);
});

test("a unit is known by its own name and by those that were asked for, not by others", () => {
  const block =
    "Id=ssh.service\nNames=sshd.service ssh.service other.service\nActiveState=active\nCanReload=yes\nType=notify\n";
  const p = probe(answer(units(`${block}\nId=x.socket\nActiveState=inactive\n`)), ["sshd.service"]);
  assert.deepEqual([...(p?.units.keys() ?? [])], ["ssh.service", "sshd.service", "x.socket"]);
});

test("drift that was cut off is said to be cut", () => {
  const cut = answer().replace("drift\tnone", "drift\tchanged\t5\ndrifted\ta\ndrifted\tb");
  assert.equal(probe(cut)?.driftCut, true);
  assert.equal(probe(cut.replace("\t5", "\t2"))?.driftCut, false);
});

test("records come out the same whether they arrive whole, byte by byte or in random pieces", () => {
  const text = Buffer.from(
    answer(`${units("Id=a.service\n\ndone\tok\n\tü")}file\tetc/x\t4\n\n\t\n\n\nout\tlast\n`),
  );
  const whole = parseRecords(text);
  assert.ok(
    whole.some((r) => r.data?.includes("done\tok")),
    "control: data may look like records",
  );
  const bytes = new RecordReader();
  assert.deepEqual(
    [...text].flatMap((byte) => bytes.push(Buffer.from([byte]))),
    whole,
  );
  const random = seededRandom(7);
  for (let round = 0; round < 50; round++) {
    const reader = new RecordReader();
    const out = [];
    for (let at = 0; at < text.length; ) {
      const size = random.below(40);
      out.push(...reader.push(text.subarray(at, at + size)));
      at += size;
    }
    assert.deepEqual(out, whole);
  }
});
