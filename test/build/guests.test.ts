/** Declared guests: what is refused, what a build makes of them, and that they are followed up like anything else. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import { answer, type Scenario, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const ID = "0123456789abcdef0123456789abcdef";

/** One machine that can have guests, with this in its machine.ini. */
function host(sections: string, more: Files = {}): Files {
  return {
    "machines/m/machine.ini": `[machine]\nlayers = hosting\n${sections}`,
    "layers/base/layer.ini": "[layer]\n",
    "layers/hosting/layer.ini": "[layer]\n",
    "layers/hosting/etc/images/debian.ini": "[image]\n",
    "layers/hosting/lib/systemd/system/container@.service": "[Service]\nExecStart=/bin/true %i\n",
    "layers/hosting/lib/systemd/system/bridge@.service": "[Service]\nExecStart=/bin/true %i\n",
    "layers/site/layer.ini": "[layer]\n[facts]\nTITLE = none\n",
    "layers/site/etc/site.hbs": "{{TITLE}} of {{machine.name}} {{default HOST_MACHINE_ID 0}}\n",
    "layers/site/etc/plain": "plain\n",
    ...(sections.includes("[network lab]") ? { "facts/ipam.json": LEDGER } : {}),
    ...more,
  };
}

const LEDGER = `{ "version": 1, "allocations": [
  { "machine": "m", "network": "lab", "subnet": 256, "ipv4": "10.0.0.0/29" }
]}
`;
const LAB = "[network lab]\nipv4 = /29\n";
const WEB = "[guest web]\nimage = debian\n";

function refusal(sections: string, more: Files = {}): string {
  const said = answer(host(sections, more), ["build"]);
  assert.equal(said.code, 1, said.stderr);
  assert.doesNotMatch(said.stdout, /wrote/);
  return said.stderr;
}

test("what can't be a guest is refused at build, with the place and what was meant", () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [
      "[guest twelve-chars]\nimage = debian\n",
      /machine\.ini:3:1: `twelve-chars` can't be the name of a guest\n.*this one has 12/,
    ],
    ["[guest ../x]\nimage = debian\nlayers = site\n", /`\.\.\/x` can't be the name of a guest/],
    ["[guest Web]\nimage = debian\n", /lower-case/],
    [`${WEB}${WEB}`, /section \[guest web\] stands twice\n {2}first at line 3/],
    [`${WEB}[guest  web]\nimage = debian\n`, /guest `web` is declared twice\n {2}first at line 3/],
    ["[guest web]\n", /machine\.ini:3:1: `image` is missing\n {2}help: add `image = debian`/],
    [
      "[guest web]\nimage = debain\n",
      /:4:1: guest `web` wants image `debain`.*\n.*etc\/images\/debain\.ini.*\n {2}help: did you mean `debian`/,
    ],
    [`${WEB}imag = debian\n`, /unknown setting `imag` in \[guest web\]\n {2}help: did you mean `image`/],
    [`${WEB}kind = contaner\n`, /:5:1: `kind` is `contaner`\n {2}expected: one of container, vm/],
    [`${WEB}kind = vm\n`, /guest `web` needs lib\/systemd\/system\/vm@\.service.*\n {2}help: add `qemu`/],
    [
      `${WEB}network = lob\n${LAB}`,
      /wants network `lob`, which is not declared\n.*\n {2}help: did you mean `lab`/,
    ],
    [`${WEB}network = lab\n`, /add a section \[network lab\]/],
    [`${WEB}layers = sight\n`, /there is no layer `sight`/],
    [`${WEB}memory = lots\n`, /`memory` is `lots`\n {2}expected: a size of at least 16M/],
    [`${WEB}size = huge\n`, /`size` is `huge`\n {2}expected: one of small, medium, large/],
    [`${WEB}ready = soon\n`, /`ready` is `soon`\n {2}expected: seconds/],
    [`${WEB}autostart = maybe\n`, /`autostart` is `maybe`/],
    [`${WEB}cpus = 2\n`, /only guests of kind `vm` have it/],
    [`${WEB}mounts = /srv/../etc /srv\n`, /`mounts` is `\/srv\/\.\.\/etc`\n {2}expected: an absolute path/],
    [`${WEB}mounts = srv /srv\n`, /`mounts` is `srv`\n {2}expected: an absolute path/],
    [`${WEB}mounts = /srv\n`, /`mounts` is `\/srv`/],
    [`${WEB}mounts = /a /srv, /b /srv\n`, /two mounts at \/srv/],
    [`${WEB}layers = site\nmounts = /a /usr/local/etc\n`, /the guest's tree lies at \/usr\/local/],
    [`${WEB}keys = ssh-ed25519\n`, /`keys` is `ssh-ed25519`\n {2}expected: a public key/],
    [`${WEB}layers = site\ninstances = x\n`, /`instances = x` is not an instance/],
  ];
  for (const [sections, expected] of cases) assert.match(refusal(sections), expected, sections);
});

test("all that is wrong with the guests of a machine is said at once", () => {
  const said = refusal(
    `${WEB}memory = lots\n[guest db]\nimage = debain\nkind = pot\n[guest Mail]\nimage = debian\n`,
  );
  assert.deepEqual(
    said.split("\n").filter((line) => line.startsWith("error")),
    [
      "error[guest-value] machines/m/machine.ini:5:1: `memory` is `lots`",
      "error[guest-value] machines/m/machine.ini:8:1: `kind` is `pot`",
      "error[guest-name] machines/m/machine.ini:9:1: `Mail` can't be the name of a guest",
    ],
  );
});

test("guests that are too many or too large for their machine are refused with the sum, and each one's share", () => {
  const guest = (name: string, limits: string): string => `[guest ${name}]\nimage = debian\n${limits}`;
  const two =
    guest("web", "memory = 12G\ncpu = 500%\n") + guest("db", "memory = 8.5G\ncpu = 400%\ndisk = 80G\n");
  assert.equal(
    refusal(`[guests]\nmemory = 16G\n${two}`),
    `error[guest-quota] machines/m/machine.ini:4:1: the guests of \`m\` have 20.5G of memory together, and [guests] allows 16G
  web: 12G
  db: 8.5G
  help: make guests smaller or fewer, move one to another machine, or allow more`,
  );
  assert.match(
    refusal(`[guests]\ncpu = 800%\n${two}`),
    /have 900% of cpu together, and \[guests\] allows 800%/,
  );
  assert.match(
    refusal(`[guests]\ndisk = 100G\n${two}`),
    /guest `web` has no `disk`, and \[guests\] limits that of all/,
  );
  assert.match(
    refusal(`[guests]\ncount = 1\n${two}`),
    /`m` has 2 guests, and \[guests\] allows 1\n {2}web, db/,
  );
  assert.match(refusal(`[guests]\nmemory = much\n${two}`), /`memory` is `much`/);
  assert.match(
    refusal(`[guests]\nmemory = 75%\n${two}`),
    /not known how much memory `m` has\n.*\n.*labctl facts probe m/,
  );
  const seen = (bytes: number): Files => ({
    "facts/probed/m.json": `{"probedAt":"2026-01-01T00:00:00Z","facts":{"HOST_MEMORY_BYTES":${bytes}}}`,
  });
  assert.match(
    refusal(`[guests]\nmemory = 75%\n${two}`, seen(16 * 1024 ** 3)),
    /20\.5G of memory together, and \[guests\] allows 75%: 12G/,
  );
  const fits = answer(host(`[guests]\nmemory = 75%\ncpu = 900%\ncount = 2\n${two}`, seen(64 * 1024 ** 3)), [
    "build",
  ]);
  assert.equal(fits.code, 0, fits.stderr);
});

test("more guests than their network has addresses are refused", () => {
  const guests = (n: number): string =>
    Array.from({ length: n }, (_, i) => `[guest g${i}]\nimage = debian\nnetwork = lab\n`).join("");
  assert.match(
    refusal(LAB + guests(6)),
    /network `lab` of `m` has addresses for 5 guests, and 6 want one\n {2}guests: g0, g1, g2, g3, g4, g5/,
  );
  const fits = answer(host(LAB + guests(5)), ["build"]);
  assert.equal(fits.code, 0, fits.stderr);
});

test("a guest can't have a layer that wants what only machines have, nor files where nobody looks for them", () => {
  const web = `${WEB}layers = odd\n`;
  const odd = (files: Files): Files => ({ "layers/odd/layer.ini": "[layer]\n", ...files });
  assert.match(
    refusal(web, odd({ "layers/odd/lib/modules-load.d/x.conf": "x\n" })),
    /layers\/odd\/lib\/modules-load\.d\/x\.conf: guest `m\/web` can't have layer `odd`, which loads modules/,
  );
  assert.match(
    refusal(web, odd({ "layers/odd/layer.ini": "[layer]\n[secrets]\nkey = key\n" })),
    /guest `m\/web` can't have layer `odd`, which wants the credential `key`/,
  );
  assert.match(
    refusal(
      web,
      odd({ "layers/odd/layer.ini": "[layer]\n[attributes]\netc/x = group www\n", "layers/odd/etc/x": "" }),
    ),
    /gives `etc\/x` to `www`/,
  );
  assert.match(
    refusal(WEB, { "machines/m/_guests/wob/etc/x": "x\n" }),
    /machines\/m\/_guests\/wob: there is no guest `wob`.*\n.*\n {2}help: did you mean `web`/,
  );
  assert.match(
    refusal(WEB, { "machines/m/_guests": { link: "/etc/systemd" } }),
    /error\[(deref-outside|guest-undeclared)\]/,
  );
  assert.match(
    refusal(WEB, { "machines/m/_guests/web": { link: "/etc/systemd" } }),
    /error\[deref-outside\] machines\/m\/_guests\/web: the link points outside the repository/,
  );
  assert.match(
    refusal(WEB, { "machines/m/lib/labctl/guests/web/etc/x": "x\n" }),
    /lies where the trees of guests are built/,
  );
  assert.match(
    refusal(WEB, { "machines/m/etc/guests/web.json": "{}\n" }),
    /two files write `etc\/guests\/web\.json`/,
  );
  assert.match(
    refusal(`${WEB}layers = site, odd\n`, odd({ "layers/odd/etc/plain": "other\n" })),
    /two layers write `etc\/plain` for machine `m\/web`/,
  );
  assert.match(
    refusal(`${WEB}layers = odd\n`, odd({ "layers/odd/layer.ini": "[layer]\n[facts]\nMUST = required\n" })),
    /fact `MUST` is required by layer `odd` and unset for machine `m\/web`\n {2}looked in: facts\/m\/web\.env/,
  );
});

function withHost(sections: string, more: Files, use: (s: Scenario) => void): void {
  const s = scenario(host(sections, more));
  try {
    use(s);
  } finally {
    s.end();
  }
}

/** Paths and contents of the built tree, as the shell shows them. */
function built(s: Scenario, path: string): string | undefined {
  try {
    return readFileSync(`${s.root}/var/tree/m/usr/local/${path}`, "utf8");
  } catch {
    return undefined;
  }
}

test("a declared guest becomes a definition, drop-ins, a link where it starts by itself, and a tree of its own layers", () => {
  const more: Files = {
    "facts/probed/m.json": `{"probedAt":"2026-01-01T00:00:00Z","facts":{"HOST_MACHINE_ID":"${ID}"}}`,
    "facts/m.env": "TITLE=of the host\n",
    "machines/m/_guests/web/etc/own": "the guest's own\n",
    "machines/m/_guests/web/README.md": "not shipped\n",
  };
  const web = `${WEB}network = lab\nlayers = site\nautostart = yes\nsize = small\nmemory = 256M\nmounts = /srv/web /srv ro, nfs nas:/x /mnt\nready = 9s\n`;
  withHost(`${web}[guest plain]\nimage = debian\n${LAB}`, more, (s) => {
    const said = s.run(["build"]);
    assert.equal(said.code, 0, said.stderr);
    assert.deepEqual(JSON.parse(built(s, "etc/guests/web.json") ?? ""), {
      ...{ name: "web", kind: "container", image: "debian", network: "lab" },
      ...{ autostart: true, pinned: false, ephemeral: false, readySeconds: 9, stopSeconds: 20 },
      resources: { cpu: "100%", memory: "256M", tasks: 1024, disk: "8G" },
      mounts: [
        { kind: "bind", source: "/srv/web", target: "/srv", readOnly: true },
        { kind: "nfs", source: "nas:/x", target: "/mnt", readOnly: false },
      ],
      sshKeys: [],
      tree: "/usr/local/lib/labctl/guests/web",
    });
    const dropIn = built(s, "lib/systemd/system/container@web.service.d/50-guest.conf") ?? "";
    assert.match(
      dropIn,
      /Requires=image@debian\.service guest-root@web\.service guest-net@web\.service bridge@lab\.service/,
    );
    assert.match(dropIn, /MemoryMax=256M/);
    assert.match(built(s, "lib/systemd/system/guest-root@web.service.d/50-guest.conf") ?? "", /image@debian/);
    const links = `${s.root}/var/tree/m/usr/local/lib/systemd/system/machines.target.wants`;
    assert.deepEqual(readdirSync(links), ["container@web.service"]);
    assert.equal(readlinkSync(`${links}/container@web.service`), "../container@.service");
    const tree = "lib/labctl/guests/web";
    // Neither the host's facts nor its name are the guest's; docs/addressing.md has this id.
    assert.equal(built(s, `${tree}/etc/site`), "none of web b9b6eb41b88960c0a89f93022f2ef5eb\n");
    assert.equal(built(s, `${tree}/etc/own`), "the guest's own\n");
    assert.equal(built(s, `${tree}/README.md`), undefined);
    assert.equal(built(s, "_guests/web/etc/own"), undefined);
    assert.equal(built(s, "etc/site"), undefined, "the host has a layer of its guest's");
    assert.doesNotMatch(built(s, "etc/guests/plain.json") ?? "", /"tree"/);
    assert.equal(built(s, "lib/labctl/guests/plain"), undefined);
  });
});

test("a guest's facts have the five levels, from files of its own name", () => {
  withHost(`${WEB}layers = site\n`, {}, (s) => {
    const title = (...args: string[]): string | undefined => {
      const said = s.run(["build", ...args]);
      assert.equal(said.code, 0, said.stderr);
      return built(s, "lib/labctl/guests/web/etc/site")?.split(" ")[0];
    };
    assert.equal(title(), "none");
    s.write({ "facts/m.env": "TITLE=host\n" });
    assert.equal(title(), "none");
    s.write({ "facts/all.env": "TITLE=all\n" });
    assert.equal(title(), "all");
    s.write({ "facts/m/web.env": "TITLE=web\n" });
    assert.equal(title(), "web");
    assert.equal(title("--fact", "TITLE=given"), "given");
    const origin = s.run(["facts", "origin", "TITLE", "m"]);
    assert.match(
      origin.stdout,
      /^m: TITLE="host".*\n.*\n?m\/web: TITLE="web" {2}\(machine, facts\/m\/web\.env:1\)\n {2}over "all"/m,
    );
  });
});

test("what concerns a guest is planned, explained and foretold like a machine's own", () => {
  withHost(`${WEB}layers = site\n`, {}, (s) => {
    s.run(["build"]);
    s.write({ "facts/m/web.env": "TITLE=new\n" });
    const site = "lib/labctl/guests/web/etc/site";
    const said = s.run(["build", "--explain"]);
    assert.match(
      said.stderr,
      new RegExp(`^m: render ${site}: fact TITLE changed: .* \\(facts/m/web\\.env:1\\)$`, "m"),
    );
    assert.doesNotMatch(said.stderr, /etc\/plain/);
    s.write({ "layers/site/etc/plain": "changed\n" });
    assert.match(
      s.run(["build", "--explain"]).stderr,
      /^m: copy lib\/labctl\/guests\/web\/etc\/plain: source changed/m,
    );
    assert.match(s.run(["build", "--explain"]).stderr, /nothing to do/);
    const why = s.run(["why", "m", site]);
    assert.match(why.stdout, /layer {5}site\n {2}source {4}layers\/site\/etc\/site\.hbs \(template\)/);
    assert.match(why.stdout, /reads {5}TITLE = "new" \(facts\/m\/web\.env:1\), line 1/);
    assert.match(why.stdout, /would restart container@web\.service/);
    const impact = s.run(["impact", "TITLE=other"]);
    assert.match(impact.stdout, new RegExp(`~ ${site}`));
    assert.match(impact.stdout, /restart container@web\.service/);
    s.write({ "machines/m/machine.ini": `[machine]\nlayers = hosting\n${WEB}layers = site\nstop = 7\n` });
    assert.match(
      s.run(["build", "--explain"]).stderr,
      /^m: write etc\/guests\/web\.json: what machines\/m\/machine\.ini makes of it changed/m,
    );
    s.write({ "machines/m/machine.ini": "[machine]\nlayers = hosting\n" });
    assert.equal(s.run(["build"]).code, 0);
    assert.equal(built(s, "etc/guests/web.json") ?? built(s, site), undefined);
  });
});

test("verify says which packages an image lacks for the layers of its guests", () => {
  const more: Files = {
    "layers/site/layer.ini": "[layer]\npackages = nginx-light, curl\n[facts]\nTITLE = none\n",
    "layers/hosting/etc/images/debian.ini": "[build]\nsuite = bookworm\npackages = systemd, curl\n",
    "layers/hosting/etc/images/odd.ini": "[image]\nsource = ftp://x\n",
  };
  withHost(`${WEB}layers = site\n`, more, (s) => {
    const { stderr } = s.run(["verify"]);
    const lines = stderr.split("\n").filter((line) => /etc\/images/.test(line));
    assert.match(
      lines.join("\n"),
      /debian\.ini: image `debian` does not name package `nginx-light`, which guest `web` needs/,
    );
    assert.match(lines.join("\n"), /odd\.ini:2/);
    assert.equal(lines.length, 2, stderr);
  });
});

test("verify reads a guest's tree as a tree of its own, and names its sources", () => {
  const more: Files = {
    "layers/site/etc/lib.hbs": "",
    "layers/site/lib/systemd/system/x.service.hbs":
      "{{#if TITLE}}\n{{/if}}[Service]\nExecStart=/bin/true\nFoo={{TITLE}}\n",
    "layers/site/libexec/broken.sh": { text: "#!/bin/bash\nif [ ; then\n", mode: 0o755 },
  };
  withHost(`${WEB}layers = site\n`, more, (s) => {
    const said = s.run(["verify"]);
    assert.match(said.stderr, /layers\/site\/lib\/systemd\/system\/x\.service\.hbs:4: unknown key `Foo`/);
    assert.match(said.stderr, /layers\/site\/libexec\/broken\.sh:\d+: bash can't read the script/);
    assert.match(
      said.stderr,
      /error\[missing-unit\] machines\/m\/machine\.ini: `Requires=` names image@debian/,
    );
    const { findings } = JSON.parse(s.run(["verify", "--json"]).stdout);
    const broken = findings.find((f: { path: string }) => f.path === "libexec/broken.sh");
    assert.deepEqual(broken.machines, ["m/web"]);
    assert.equal(said.stderr.match(/broken\.sh/g)?.length, 1, said.stderr);
  });
});
