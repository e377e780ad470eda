/** `labctl doctor`: faults of host and repository are told with their next step; what is well is not complained about. */
import assert from "node:assert/strict";
import test from "node:test";
import { type HostHealth, judgeHealth } from "../../src/cli/doctor/host-health.ts";
import { judgeFactFiles, judgeProbes } from "../../src/cli/doctor/repository-health.ts";
import type { MachineName } from "../../src/paths.ts";
import { oneMachine, scenario } from "../scenario.ts";

const WELL: HostHealth = {
  node: "20.19.0",
  extraCertificates: undefined,
  programsMissing: [],
  cacheClosed: undefined,
  twin: {
    platform: "linux",
    uid: 0,
    programsMissing: [],
    namespacesRefused: undefined,
    cgroup2Refused: undefined,
    loopControl: true,
    filesystems: ["btrfs", "overlay"],
    poolFolder: "/tmp",
    freeBytes: 9e9,
  },
};

function told(health: Partial<HostHealth>): string[] {
  return judgeHealth({ ...WELL, ...health }).map((d) => `${d.severity} ${d.code}: ${d.help ?? ""}`);
}

test("each fault of a host comes with what to do, and a host that is well with none", () => {
  assert.deepEqual(told({ node: "20.18.9" }), [
    "error doctor-node-old: install a newer one; nodejs.org says how",
  ]);
  assert.deepEqual(told({ node: "22.0.0" }), []);
  assert.deepEqual(told({ programsMissing: ["rsync", "nft", "sshd"] }), [
    "error doctor-program-missing: apt-get install --no-install-recommends rsync",
    "warning doctor-checkers-missing: apt-get install --no-install-recommends nftables openssh-server",
  ]);
  assert.deepEqual(told({ cacheClosed: "/x", extraCertificates: "/y" }), [
    "warning doctor-cache-closed: make it writable, or set XDG_CACHE_HOME",
    "warning doctor-slow-start: unset it where you call labctl",
  ]);
  assert.deepEqual(told({}), []);
});

test("what twins need is a warning, and for those only who could boot them", () => {
  const twin = { ...WELL.twin, programsMissing: ["systemd-nspawn"] };
  assert.deepEqual(told({ twin }), [
    "warning host-program-missing: apt-get install --no-install-recommends systemd-container",
  ]);
  assert.deepEqual(told({ twin: { ...twin, uid: 1000 } }), []);
  assert.deepEqual(told({ twin: { ...twin, platform: "darwin" } }), []);
});

test("machines that were never probed, or long ago, are one finding each", () => {
  const now = Date.parse("2026-11-21T00:00:00Z");
  const ages = [
    { machine: "a", probedAt: undefined },
    { machine: "b", probedAt: Date.parse("2026-01-01T00:00:00Z") },
    { machine: "c", probedAt: now },
    { machine: "d", probedAt: undefined },
  ];
  assert.deepEqual(
    judgeProbes(ages, now).map((d) => [d.code, d.message, d.help]),
    [
      ["doctor-never-probed", "never probed: a, d", "labctl facts probe a d"],
      ["doctor-probe-old", "probed more than 90 days ago: b", "labctl facts probe b"],
    ],
  );
});

test("facts of a machine or guest that there is not are one finding, those that are read are none", () => {
  const machines = [
    { name: "gw" as MachineName, guests: [{ name: "web", settings: new Map(), place: { file: "x" } }] },
  ];
  const read = ["all.env", "all.json", "ipam.json", "gw.env", "gw/web.json", "gw/README.md"];
  assert.deepEqual(judgeFactFiles(read, machines), []);
  assert.deepEqual(
    judgeFactFiles([...read, "wg.env", "gw/wbe.env", "web.env"], machines).map((d) => d.message),
    ["facts that no machine and no guest reads: gw/wbe.env, web.env, wg.env"],
  );
});

test("a repository that does not build is exit 1 with the build's own words, and nothing is built", () => {
  const s = scenario({ ...oneMachine("missing"), "secrets/token.age": "x" });
  try {
    const { code, stderr } = s.run(["doctor"]);
    assert.equal(code, 1);
    assert.match(stderr, /error\[unknown-layer\] machines\/m\/machine\.ini/);
    const sound = scenario({ ...oneMachine("base"), "machines/m/etc/x": "x\n" });
    try {
      const answer = sound.run(["doctor", "--json"], { HOME: sound.root });
      const { repository } = JSON.parse(answer.stdout) as {
        repository: { machines: number; findings: { code: string }[] };
      };
      assert.equal(repository.machines, 1);
      assert.deepEqual(
        repository.findings.map((f) => f.code),
        ["doctor-never-probed"],
      );
      assert.equal(sound.run(["build", "--json", "-n"]).code, 2, "the doctor built something");
    } finally {
      sound.end();
    }
  } finally {
    s.end();
  }
});

test("outside of a repository the host alone is looked at; a folder that is named must be one", () => {
  const s = scenario({}, true);
  try {
    const { stderr } = s.run(["doctor"]);
    assert.match(stderr, /looked at this host; there is no repository here, `labctl init` begins one/);
    assert.equal(s.run(["doctor", "-C", "."]).code, 1);
  } finally {
    s.end();
  }
});
