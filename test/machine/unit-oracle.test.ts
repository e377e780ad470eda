/**
 * systemd as the oracle of our comparison: pairs of unit texts, made by chance from spellings and orders that might or
 * might not matter, are loaded by a real systemd, and what it then says of the two units on D-Bus is equal exactly where
 * our comparison calls them the same. `LABCTL_PAIRS` sets how many (60), `LABCTL_SEED` which ones.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { changedSettings, compareSettings } from "../../src/units/compare.ts";
import { parseUnitFile } from "../../src/units/unit-file.ts";
import { mergeSettings } from "../../src/units/unit-set.ts";
import { type SeededRandom, seededRandom } from "../seeded-random.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();
const COUNT = Number(process.env.LABCTL_PAIRS ?? 60);
const SEED = Number(process.env.LABCTL_SEED ?? 2);

/** By section, keys with values; some are spellings of each other, some are not. */
const VALUES: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  Unit: {
    Description: ["a", "b", "a b", '"a"'],
    Documentation: ["man:a(1) man:b(1)", "man:b(1) man:a(1)", "man:a(1)"],
    After: ["a.service b.service", "b.service  a.service", "b.service", "a\\x2db.service", ""],
    Wants: ["a.service", "b.service", "a.service a.service"],
    BindTo: ["a.service"],
    BindsTo: ["a.service"],
    StartLimitIntervalSec: ["10", "10s", "1min", "60s", "0"],
    StartLimitInterval: ["10s", "60"],
    StartLimitBurst: ["5", "05", "7"],
    RefuseManualStop: ["yes", "on", "1", "no", "False"],
    ConditionPathExists: ["/a", "!/a", "/b", ""],
    JobTimeoutSec: ["1min 30s", "90", "1.5min", "1.5 min", "90s", "infinity", "1h"],
    RequiresMountsFor: ["/srv", "/srv/", "/srv//", "/mnt"],
  },
  Service: {
    Nice: ["1", "+1", "2", "01"],
    UMask: ["0022", "022", "22", "0077"],
    PrivateTmp: ["yes", "true", "no", "0"],
    ProtectSystem: ["yes", "on", "full", "strict", "no"],
    ProtectHome: ["read-only", "1", "yes", "off"],
    NoNewPrivileges: ["yes", "t", "n"],
    TimeoutStopSec: ["5", "5s", "5000ms", "9", "1m", "1min"],
    TimeoutStartSec: ["5", "5s", "7"],
    TimeoutSec: ["5", "7s"],
    RestartSec: ["100ms", "0.1", "0.1s", ".1", "1"],
    RuntimeMaxSec: ["1d", "24h", "1 day", "1w", "1M", "2629800"],
    KillSignal: ["SIGTERM", "TERM", "15", "SIGINT", "2"],
    MemoryMax: ["1G", "1024M", "1.5G", "1536M", "1073741824", "infinity"],
    TasksMax: ["10", "010", "11", "infinity"],
    CPUWeight: ["50", "60", "idle"],
    LimitNOFILE: ["1000", "1000:1000", "1024", "500:1000", "infinity"],
    LimitCORE: ["0", "1M", "1024K", "infinity:infinity", "infinity"],
    OOMScoreAdjust: ["10", "-10", "+10"],
    Environment: ["A=1", "A=2", "A=1 B=2", "B=2 A=1", '"A=1" B=2', "A=1\\x20", "'A=x y'", '"A=x y"', ""],
    ExecStartPre: [
      "/bin/a b c",
      '/bin/a "b c"',
      "/bin/a  b  c",
      '/bin/a "b" c',
      "-/bin/a b c",
      "/bin/a b\\x20c",
      "",
    ],
    ExecReload: ["/bin/a", "@/bin/a a", "/bin/a;", "/bin/a ; /bin/b", ""],
    EnvironmentFile: ["/a", "-/a", "/b", ""],
    ReadWritePaths: ["/a /b", "/b /a", "/a/ /b", "-/a", ""],
    ReadWriteDirectories: ["/a", "/b"],
    RuntimeDirectory: ["a b", "b a", "a", ""],
    SupplementaryGroups: ["adm", "adm daemon", ""],
    WorkingDirectory: ["/tmp", "/tmp/", "-/tmp", "~"],
    SyslogIdentifier: ["a", '"a"', "b"],
    TimerSlackNSec: ["1", "1s", "1ms", "1000000"],
    CapabilityBoundingSet: ["CAP_KILL CAP_CHOWN", "CAP_CHOWN CAP_KILL", "~CAP_KILL", "CAP_CHOWN", ""],
    RestrictAddressFamilies: ["AF_INET AF_UNIX", "AF_UNIX AF_INET", "AF_INET", ""],
    SystemCallFilter: ["read write", "write read", "~read", "read", ""],
    SuccessExitStatus: ["1 2", "2 1", "SIGKILL", ""],
    UnsetEnvironment: ["A B", "B A", ""],
    BindReadOnlyPaths: ["/a:/b", "/a:/b /c", "/c /a:/b", ""],
    LoadCredential: ["a:/a", "b:/b", ""],
    StandardOutput: ["journal", "null", "kmsg"],
    Restart: ["no", "always", "on-failure"],
    SendSIGHUP: ["yes", "no", "y"],
  },
};

interface Line {
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

function randomLine(random: SeededRandom): Line {
  const section = random.chance(0.75) ? "Service" : "Unit";
  const table = VALUES[section] ?? {};
  const key = random.pick(Object.keys(table));
  return { section, key, value: random.pick(table[key] ?? []) };
}

/** The same lines after nothing, or one or two of the things that people do to them. */
function mutate(lines: readonly Line[], random: SeededRandom): Line[] {
  const out = [...lines];
  for (let times = random.below(4); times > 0; times--) {
    const at = random.below(out.length);
    const line = out[at];
    if (!line) continue;
    const how = random.below(6);
    if (how <= 2) out[at] = { ...line, value: random.pick(VALUES[line.section]?.[line.key] ?? []) };
    else if (how === 3) out.splice(random.below(out.length), 0, ...out.splice(at, 1));
    else if (how === 4) out.splice(at, 0, line);
    else out.splice(at, 0, { ...line, value: "" }, line);
  }
  return out;
}

function textOf(lines: readonly Line[], random: SeededRandom): string {
  const out = ["[Service]", "ExecStart=/bin/true", "Type=exec"];
  for (const { section, key, value } of lines) {
    if (random.chance(0.2)) out.push("# a remark", "");
    const equals = random.chance(0.2) ? " = " : "=";
    const split = random.chance(0.2) ? value.replace(" ", " \\\n ") : value;
    out.push(`[${section}]`, `${key}${equals}${split}`);
  }
  return `${out.join("\n")}\n`;
}

/** Properties that name the unit, its files or the moment. */
const OWN =
  /^(Id|Names|FragmentPath|DropInPaths|SourcePath|Following|NeedDaemonReload|.*Timestamp.*|InvocationID|ControlGroup.*)$/;
/** Lists whose order systemd keeps, and follows. Of all other lists the order says nothing. */
const ORDERED = /^(Exec|EnvironmentFiles$)/;

/** What D-Bus says of a unit, without what differs between any two; order only where it counts. */
function meaning(json: string, name: string): Map<string, string> {
  const parsed = JSON.parse(json.replaceAll(name, "UNIT")) as {
    data: [Record<string, { data: unknown }>];
  };
  const out = new Map<string, string>();
  for (const [key, { data }] of Object.entries(parsed.data[0])) {
    if (OWN.test(key)) continue;
    const list =
      Array.isArray(data) && !ORDERED.test(key)
        ? [...new Set(data.map((e) => JSON.stringify(e)))].sort()
        : data;
    out.set(key, JSON.stringify(list));
  }
  return out;
}

test(`${COUNT} pairs of units: we call two the same exactly where systemd does (seed ${SEED})`, async (t) => {
  const machine = await bootMachine(await theBed());
  const random = seededRandom(SEED);
  const pairs = Array.from({ length: COUNT }, (_, i) => {
    const lines = Array.from({ length: 2 + random.below(5) }, () => randomLine(random));
    return { name: `o${i}`, texts: [textOf(lines, random), textOf(mutate(lines, random), random)] as const };
  });
  const files = pairs.flatMap(({ name, texts }) =>
    texts.map((text, side) => ({ name: `${name}x${side}`, text })),
  );
  const script = [
    "set -e; cd /run/systemd/system",
    ...files.map(
      ({ name, text }) => `base64 -d >${name}.service <<<'${Buffer.from(text).toString("base64")}'`,
    ),
    "systemctl daemon-reload",
    ...files.map(
      ({ name }) =>
        `busctl --json=short call org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/${name}_2eservice org.freedesktop.DBus.Properties GetAll s ''`,
    ),
  ].join("\n");
  const end = await machine.runInside(["bash"], script, 300_000);
  assert.equal(end.status, 0, end.stderr.slice(-2000));
  const answers = end.stdout.trimEnd().split("\n");
  assert.equal(answers.length, files.length);
  const wrong: string[] = [];
  let same = 0;
  // A value that is the default, written or not: what the default is, is the machine's business.
  let defaults = 0;
  pairs.forEach(({ name, texts }, i) => {
    const [before, after] = [0, 1].map((side) => meaning(answers[2 * i + side] ?? "", `${name}x${side}`));
    const differing = [...(before ?? [])]
      .filter(([key, value]) => after?.get(key) !== value)
      .map(([key]) => key);
    const [was, is] = texts.map((text) => mergeSettings([{ path: "x", file: parseUnitFile(text) }]));
    if (!was || !is) return;
    const ours = compareSettings(was, is, "service").kind;
    const spelledOut = changedSettings(was, is).every((c) => c.before.length === 0 || c.after.length === 0);
    if (differing.length === 0 && ours !== "same" && spelledOut) {
      defaults += 1;
      return;
    }
    if (differing.length === 0) same += 1;
    if ((ours === "same") === (differing.length === 0)) return;
    wrong.push(`we: ${ours}; systemd: ${differing.join(" ") || "same"}\n${texts[0]}--- after\n${texts[1]}`);
  });
  t.diagnostic(
    `${COUNT} pairs, ${same} the same to systemd, ${COUNT - same} not; ${defaults} defaults spelled out; ${wrong.length} judged otherwise by us`,
  );
  assert.ok(same > COUNT / 5 && same < COUNT - COUNT / 5, "control: chance makes both kinds");
  assert.deepEqual(wrong, []);
});
