/**
 * Whether what a push runs can reach what a login needs, judged on units that systemd has loaded; and that the way in is
 * saved where it can.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();
const REMOTE = join(import.meta.dirname, "../../src/push/remote");

const CONFINED = "User=www-data\nNoNewPrivileges=yes\n";
const SERVICE = "Type=exec\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n";

/** Unit text by name, and whether a reload of it, and a restart, can reach a login. */
const UNITS: Readonly<Record<string, { readonly text: string; readonly reaches: boolean }>> = {
  plain: { text: `[Service]\n${SERVICE}${CONFINED}`, reaches: false },
  dynamic: { text: `[Service]\n${SERVICE}DynamicUser=yes\nNoNewPrivileges=yes\n`, reaches: false },
  ports: {
    text: `[Service]\n${SERVICE}${CONFINED}AmbientCapabilities=CAP_NET_BIND_SERVICE\nExecStartPre=-/bin/true\n`,
    reaches: false,
  },
  root: { text: `[Service]\n${SERVICE}NoNewPrivileges=yes\n`, reaches: true },
  zero: { text: `[Service]\n${SERVICE}User=0\nNoNewPrivileges=yes\n`, reaches: true },
  alias: { text: `[Service]\n${SERVICE}User=toor\nNoNewPrivileges=yes\n`, reaches: true },
  pusher: { text: `[Service]\n${SERVICE}User=ada\nNoNewPrivileges=yes\n`, reaches: true },
  "pusher-alias": { text: `[Service]\n${SERVICE}User=ada2\nNoNewPrivileges=yes\n`, reaches: true },
  nobodys: { text: `[Service]\n${SERVICE}User=not-there\nNoNewPrivileges=yes\n`, reaches: true },
  privileges: { text: `[Service]\n${SERVICE}User=www-data\n`, reaches: true },
  network: { text: `[Service]\n${SERVICE}${CONFINED}AmbientCapabilities=CAP_NET_ADMIN\n`, reaches: true },
  plus: { text: `[Service]\n${SERVICE}${CONFINED}ExecReload=+/bin/true\n`, reaches: true },
  minus: { text: `[Service]\n${SERVICE}${CONFINED}ExecStartPre=-+/bin/true\n`, reaches: true },
  bang: { text: `[Service]\n${SERVICE}${CONFINED}ExecStopPost=!/bin/true\n`, reaches: true },
  first: { text: `[Service]\n${SERVICE}${CONFINED}PermissionsStartOnly=yes\n`, reaches: true },
  member: { text: `[Service]\n${SERVICE}User=eve\nNoNewPrivileges=yes\n`, reaches: true },
  primary: { text: `[Service]\n${SERVICE}User=max\nNoNewPrivileges=yes\n`, reaches: true },
  group: { text: `[Service]\n${SERVICE}${CONFINED}Group=disk\n`, reaches: true },
  groups: { text: `[Service]\n${SERVICE}${CONFINED}SupplementaryGroups=games shadow\n`, reaches: true },
  number: { text: `[Service]\n${SERVICE}${CONFINED}SupplementaryGroups=0\n`, reaches: true },
  conflict: { text: `[Unit]\nConflicts=ssh.service\n[Service]\n${SERVICE}${CONFINED}`, reaches: true },
  carrier: { text: `[Service]\n${SERVICE}${CONFINED}`, reaches: true },
  carried: { text: `[Unit]\nPartOf=reach-carrier.service\n[Service]\n${SERVICE}`, reaches: true },
  teller: {
    text: `[Unit]\nPropagatesReloadTo=reach-root.service\n[Service]\n${SERVICE}${CONFINED}`,
    reaches: true,
  },
};

/** What is in [Unit], and whether a restart can reach a login; a reload starts nothing. */
const STARTERS: Readonly<Record<string, { readonly text: string; readonly reaches: boolean }>> = {
  wants: { text: "Wants=reach-once.service", reaches: true },
  requires: { text: "Requires=reach-once.service\nAfter=reach-once.service", reaches: true },
  upholds: { text: "Upholds=reach-once.service", reaches: true },
  "wants-none": { text: "Wants=reach-not-there.service", reaches: false },
  "wants-running": { text: "Wants=reach-plain.service", reaches: false },
  success: { text: "OnSuccess=reach-once.service", reaches: true },
  failure: { text: "OnFailure=emergency.target", reaches: true },
  reported: { text: "OnFailure=reach-report@%n.service", reaches: false },
};

test("only a service of an ordinary user that can't become another, nor carries others along, is out of reach of a login", async () => {
  const machine = await bootMachine(await theBed());
  const texts: Readonly<Record<string, string>> = {
    ...Object.fromEntries(Object.entries(UNITS).map(([name, { text }]) => [name, text])),
    ...Object.fromEntries(
      Object.entries(STARTERS).map(([name, { text }]) => [
        name,
        `[Unit]\n${text}\n[Service]\n${SERVICE}${CONFINED}`,
      ]),
    ),
    once: "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    "report@": `[Service]\nType=oneshot\nExecStart=/bin/true\n${CONFINED}`,
  };
  const files = Object.entries(texts).map(
    ([name, text]) => `cat >/run/systemd/system/reach-${name}.service <<'END'\n${text}END\n`,
  );
  const program = ["prelude", "seen", "reach"]
    .map((part) => readFileSync(join(REMOTE, `${part}.sh`), "utf8"))
    .join("\n");
  await inside(
    machine,
    `${files.join("")}cat >/run/reach.sh <<'END'\n${program}\nif reaches_login "$@"; then echo true; else echo false; fi\nEND
     useradd eve; usermod -aG docker eve 2>/dev/null || { groupadd docker; usermod -aG docker eve; }; useradd ada; useradd -o -u $(id -u ada) ada2; useradd -g disk max
     useradd -o -u 0 toor; systemctl daemon-reload; systemctl start reach-carrier reach-carried reach-plain reach-wants-none`,
  );
  const judged = async (...lines: string[]): Promise<string> =>
    (
      await inside(
        machine,
        `SUDO_USER=ada SUDO_UID=$(id -u ada) bash --norc /run/reach.sh ${lines.map((l) => `$'${l.replaceAll("\t", "\\t")}'`).join(" ")}`,
      )
    ).trim();
  const wrong: string[] = [];
  for (const [name, { reaches }] of Object.entries(UNITS))
    for (const verb of ["reload", "restart", "try-restart"])
      if ((await judged(`unit\t${verb}\treach-${name}.service`)) !== String(reaches))
        wrong.push(`${verb} ${name}`);
  for (const [name, { reaches }] of Object.entries(STARTERS)) {
    const judge = (verb: string): Promise<string> => judged(`unit\t${verb}\treach-${name}.service`);
    if ((await judge("reload")) !== "false") wrong.push(`reload ${name}`);
    if ((await judge("restart")) !== String(reaches)) wrong.push(`restart ${name}`);
  }
  assert.deepEqual(wrong, []);
  const plain = "unit\treload\treach-plain.service";
  for (const [lines, reaches] of [
    [["check\tlib/labctl/check.d/x"], false],
    [[plain, "check\tlib/labctl/check.d/x", "unit\trestart\treach-ports.service"], false],
    [[plain, "daemon-reload"], true],
    [[plain, "trigger\tsysctl\t/usr/local/lib/sysctl.d/x.conf"], true],
    [[plain, "unit\tstart\treach-ports.service"], true],
    [[plain, "unit\tstop\treach-ports.service"], true],
    [[plain, "unit\treload\treach-root.service"], true],
    [["unit\trestart\treach-not-there.service"], true],
    [["unit\trestart\tssh.service"], true],
    [["unit\trestart\tapt-daily.timer"], true],
  ] as const)
    assert.equal(await judged(...lines), String(reaches), lines.join(", "));
});

test("the way in is saved for what can reach it, and not for a reload of the web server", async () => {
  const machine = await bootMachine(await theBed());
  const lab = labFor(await theBed(), machine.name);
  lab.write({
    "machines/demo/lib/labctl/check.d/look": {
      text: "#!/bin/sh\nls /usr/local/.labctl/way-in 2>/dev/null | tr '\\n' ' ' >/run/looked\n",
      mode: 0o755,
    },
    "machines/demo/opt/nginx/conf/sites.d/50-test.nginx": "server { listen 8081; return 204; }\n",
    "machines/demo/lib/systemd/system/hello.service":
      "[Service]\nExecStart=/bin/sleep infinity\nEnvironmentFile=/usr/local/etc/hello.env\n",
    "machines/demo/lib/systemd/system/multi-user.target.wants/hello.service": { link: "../hello.service" },
    "machines/demo/etc/hello.env": "A=0\n",
  });
  await lab.expect(0, ["push", "demo"]);
  assert.match(await inside(machine, "cat /run/looked"), /files/);
  lab.write({
    "machines/demo/opt/nginx/conf/sites.d/50-test.nginx": "server { listen 8081; return 200; }\n",
  });
  await lab.expect(0, ["push", "demo"]);
  assert.doesNotMatch(await inside(machine, "cat /run/looked"), /files|network|passwd/);
  lab.write({ "machines/demo/etc/hello.env": "A=1\n" });
  await lab.expect(0, ["push", "demo"]);
  assert.match(await inside(machine, "cat /run/looked"), /files generation .*network passwd/);
  assert.equal(await inside(machine, "ls -d /usr/local/.labctl/way-in 2>/dev/null || true"), "");
});
