/** Twenty rule sets that do not load are refused by `labctl verify`, each at its line; twenty that load are not. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { after } from "node:test";
import type { Finding } from "../../src/lint/verify.ts";

const root = mkdtempSync(join(tmpdir(), "labctl-nft-"));
after(() => rmSync(root, { recursive: true, force: true }));

/** One rule in a chain, on line 4. */
const rule = (text: string): string =>
  `table inet x {\n  chain c {\n    type filter hook input priority 0; policy accept;\n    ${text}\n  }\n}\n`;

/** What is wrong stands on line 4, where no other line is named. */
const BAD: readonly (readonly [text: string, line?: number])[] = [
  [rule("tcp dprot 22 accept")],
  [rule("tcp dport ssl-h accept")],
  [rule("tcp dport 70000 accept")],
  [rule("jump nowhere")],
  [rule("goto c2 accept")],
  [rule("ip saddr 10.0.0.300 accept")],
  [rule("ip saddr 10.0.0.0/33 accept")],
  [rule("ip6 saddr 10.0.0.1 accept")],
  [rule("ip saddr @nobody accept")],
  [rule("ct state open accept")],
  [rule("accept drop")],
  [rule("limit rate 5/fortnight accept")],
  [rule("tcp dport { 80, 443 accept")],
  [rule('log prefix "x accept')],
  [rule("icmp type echo-ping accept")],
  [rule("udp sport { 53 . 54 } accept")],
  [rule("reject with tcp-reset")],
  ["table inet x {\n  chain c {\n    type filter hook inward priority 0;\n  }\n}\n", 3],
  ["table inet x {\n  set s {\n    type ipv4_addr\n    elements = { fd00::1 }\n  }\n}\n"],
  ["delete table inet absent\n", 1],
  // `nft -c` lets these pass; the kernel does not load them.
  [rule('oifname "up0" masquerade')],
  [rule("tcp dport 80 redirect to :8080").replace("type filter hook input", "type nat hook postrouting")],
  [rule("jump c2").replace("  }\n}", "  }\n  chain c2 {\n    masquerade\n  }\n}"), 7],
];

const GOOD: readonly string[] = [
  rule("tcp dport 22 accept"),
  rule("tcp dport ssh accept"),
  rule("tcp dport 65535 accept"),
  rule("counter"),
  rule("meta l4proto . th dport { tcp . 80, udp . 443 } accept"),
  rule("ip saddr 10.0.0.30 accept"),
  rule("ip saddr 10.0.0.0/31 accept"),
  rule("ip6 saddr fd00::1 accept"),
  rule("ip saddr { 10.0.0.1, 10.0.1.0/24 } accept"),
  rule("ct state vmap { established : accept, invalid : drop }"),
  rule("drop"),
  rule("limit rate 5/minute accept"),
  rule("tcp dport { 80, 443 } accept"),
  rule('log prefix "x" accept'),
  rule("icmp type echo-request accept"),
  rule('iifname "not-there-yet" accept'),
  rule("reject with tcp reset").replace("reject", "meta l4proto tcp reject"),
  "table inet x {\n  chain c {\n    type nat hook postrouting priority srcnat;\n    masquerade\n  }\n}\n",
  "table inet x {\n  chain c {\n    type nat hook prerouting priority dstnat;\n    tcp dport 80 redirect to :8080\n  }\n}\n",
  "table inet x {\n  chain c {\n    type nat hook postrouting priority srcnat;\n    jump d\n  }\n  chain d {\n    masquerade\n  }\n}\n",
  rule('ct mark 1 counter comment "masquerade is done elsewhere"'),
  "table inet x {\n  set s {\n    type ipv6_addr\n    elements = { fd00::1 }\n  }\n}\n",
  "table inet absent\ndelete table inet absent\ntable inet absent {\n}\n",
];

test("rule sets that nft does not load are refused where they are wrong, and no others", () => {
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  write("lab.ini", "[lab]\nname = t\n");
  write("machines/m/machine.ini", "[machine]\nhost = m\nlayers = base\n");
  write("layers/base/layer.ini", "[layer]\ndescription = x\n");
  for (const [i, [text]] of BAD.entries()) write(`machines/m/etc/bad/${i}.nft`, text);
  for (const [i, text] of GOOD.entries()) write(`machines/m/etc/good/${i}.nft`, text);
  const labctl = ["--import", import.meta.resolve("tsx"), join(import.meta.dirname, "../../bin/labctl.ts")];
  const run = spawnSync(process.execPath, [...labctl, "verify", "--json"], { cwd: root, encoding: "utf8" });
  const report = JSON.parse(run.stdout) as {
    readonly findings: readonly Finding[];
    readonly skipped: readonly { readonly check: string }[];
  };
  assert.deepEqual(
    report.skipped.filter((s) => s.check === "nft -c"),
    [],
  );
  const at = new Map<string, Set<string>>();
  for (const f of report.findings) {
    const file = f.place?.file ?? "";
    at.set(file, (at.get(file) ?? new Set()).add(`${f.code}:${f.place?.line}`));
  }
  const wanted = new Map(
    BAD.map(([, line = 4], i) => [`machines/m/etc/bad/${i}.nft`, new Set([`nft-ruleset:${line}`])] as const),
  );
  const sorted = (map: ReadonlyMap<string, ReadonlySet<string>>): unknown =>
    [...map].map(([file, codes]) => `${file} ${[...codes].sort()}`).sort();
  assert.deepEqual(sorted(at), sorted(wanted));
  assert.equal(run.status, 1);
});
