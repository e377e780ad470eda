/**
 * One edit after another on one machine: what the plan says is what the push does, to the files and to every loaded
 * unit. Each row names what really happens, found by looking at systemd and not at the plan.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import {
  bootMachine,
  inside,
  type Lab,
  labFor,
  liveTree,
  page,
  unitDifference,
  unitStates,
} from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

interface Edit {
  readonly name: string;
  readonly edit: (lab: Lab) => void;
  /** Files that change, without folders. */
  readonly files: readonly string[];
  /** What happens to loaded units, as `unitDifference` words it. */
  readonly units: readonly string[];
  readonly daemonReload?: boolean;
  readonly triggers?: readonly string[];
  /** That the machine behaves anew. */
  readonly see?: (machine: Machine) => Promise<void>;
}

const DROP_IN = "layers/web/lib/systemd/system/nginx.service.d/10-sandbox.conf";
const HELLO =
  "[Unit]\nDescription=Hello\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=x.target\n";

const EDITS: readonly Edit[] = [
  {
    name: "an edited page: no unit is touched",
    edit: (lab) => lab.edit("layers/web/opt/nginx/www/style.css", "40rem", "44rem"),
    files: ["changed opt/nginx/www/style.css"],
    units: [],
    see: async (m) => assert.match(await page(m, "/style.css"), /44rem/),
  },
  {
    name: "a fact in a page: no unit is touched",
    edit: (lab) => lab.edit("facts/demo.env", "Built, pushed", "Made, pushed"),
    files: ["changed opt/nginx/www/index.html"],
    units: [],
    see: async (m) => assert.match(await page(m), /Made, pushed/),
  },
  {
    name: "a fact in the bound main.nginx: nginx restarts, since a reload would read the old file",
    edit: (lab) => lab.write({ "facts/demo.json": '{ "WEB_MAX_BODY": "1k" }\n' }),
    files: ["changed opt/nginx/conf/main.nginx"],
    units: ["restart nginx.service"],
    see: async (m) =>
      assert.equal(
        await inside(
          m,
          "head -c 2000 /dev/zero | curl -s -o /dev/null -w '%{http_code}' --data-binary @- http://127.0.0.1/",
        ),
        "413",
      ),
  },
  {
    name: "a new site: nginx reloads",
    edit: (lab) =>
      lab.write({
        "machines/demo/opt/nginx/conf/sites.d/10-more.nginx":
          "server { listen 8081; return 200 'more one\\n'; }\n",
      }),
    files: ["added opt/nginx/conf/sites.d/10-more.nginx"],
    units: ["reload nginx.service"],
    see: async (m) => assert.equal(await page(m, "/", 8081), "more one\n"),
  },
  {
    name: "an edited site: nginx reloads",
    edit: (lab) => lab.edit("machines/demo/opt/nginx/conf/sites.d/10-more.nginx", "more one", "more two"),
    files: ["changed opt/nginx/conf/sites.d/10-more.nginx"],
    units: ["reload nginx.service"],
    see: async (m) => assert.equal(await page(m, "/", 8081), "more two\n"),
  },
  {
    name: "a removed site: nginx reloads",
    edit: (lab) => lab.remove("machines/demo/opt/nginx/conf/sites.d/10-more.nginx"),
    files: ["removed opt/nginx/conf/sites.d/10-more.nginx"],
    units: ["reload nginx.service"],
    see: async (m) =>
      assert.equal(await inside(m, "curl -s http://127.0.0.1:8081/ >/dev/null; echo $?"), "7\n"),
  },
  {
    name: "a comment and an empty line in a drop-in: nothing, not even a daemon-reload",
    edit: (lab) => lab.edit(DROP_IN, "[Service]\n", "[Service]\n# nothing to see\n\n"),
    files: ["changed lib/systemd/system/nginx.service.d/10-sandbox.conf"],
    units: [],
  },
  {
    name: "settings of independent keys in another order: nothing",
    edit: (lab) =>
      lab.edit(DROP_IN, "ProtectClock=yes\nProtectHostname=yes\n", "ProtectHostname=yes\nProtectClock=yes\n"),
    files: ["changed lib/systemd/system/nginx.service.d/10-sandbox.conf"],
    units: [],
  },
  {
    name: "a sandbox setting: nginx restarts in the new sandbox",
    edit: (lab) => lab.edit(DROP_IN, "KeyringMode=private", "KeyringMode=inherit"),
    files: ["changed lib/systemd/system/nginx.service.d/10-sandbox.conf"],
    units: ["restart nginx.service"],
    daemonReload: true,
    see: async (m) => assert.equal(await inside(m, "systemctl show -P KeyringMode nginx"), "inherit\n"),
  },
  {
    name: "a description: daemon-reload only",
    edit: (lab) => lab.edit(DROP_IN, "[Service]\n", "[Unit]\nDescription=Pages\n[Service]\n"),
    files: ["changed lib/systemd/system/nginx.service.d/10-sandbox.conf"],
    units: [],
    daemonReload: true,
    see: async (m) => assert.equal(await inside(m, "systemctl show -P Description nginx"), "Pages\n"),
  },
  {
    name: "a script that a unit starts with: restart",
    edit: (lab) => lab.edit("layers/web/libexec/web/nginx", "set -eu\n", "set -eu\n:\n"),
    files: ["changed libexec/web/nginx"],
    units: ["restart nginx.service"],
  },
  {
    name: "a kernel setting: sysctl runs, no unit is touched",
    edit: (lab) => lab.edit("layers/base/lib/sysctl.d/50-base.conf", "tcp_rfc1337 = 1", "tcp_rfc1337 = 0"),
    files: ["changed lib/sysctl.d/50-base.conf"],
    units: [],
    triggers: ["sysctl"],
    see: async (m) => assert.equal(await inside(m, "cat /proc/sys/net/ipv4/tcp_rfc1337"), "0\n"),
  },
  {
    name: "a journal limit: journald restarts and keeps everyone's streams",
    edit: (lab) => lab.write({ "facts/demo.json": '{ "WEB_MAX_BODY": "1k", "JOURNAL_MAX_USE": "128M" }\n' }),
    // The base layer's check states the limit as well.
    files: ["changed lib/labctl/check.d/base", "changed lib/systemd/journald.conf.d/50-limits.conf"],
    units: ["restart systemd-journald.service"],
  },
  {
    name: "a new tmpfiles line: its folder is there",
    edit: (lab) =>
      lab.write({ "machines/demo/lib/tmpfiles.d/extra.conf": "d /run/extra 0750 root root -\n" }),
    files: ["added lib/tmpfiles.d/extra.conf"],
    units: [],
    triggers: ["tmpfiles"],
    see: async (m) => assert.equal(await inside(m, "stat -c %a /run/extra"), "750\n"),
  },
  {
    name: "a check: it runs in its new form, and no unit is touched",
    edit: (lab) =>
      lab.edit("layers/web/lib/labctl/check.d/web.hbs", "set -u\n", "set -u\ntouch /run/checked\n"),
    files: ["changed lib/labctl/check.d/web"],
    units: [],
    see: async (m) => assert.equal(await inside(m, "test -e /run/checked && echo yes"), "yes\n"),
  },
  {
    name: "access rules of sshd: ssh reloads",
    edit: (lab) =>
      lab.edit("layers/base/etc/ssh/sshd_config.d/10-access.conf.hbs", "CountMax 2", "CountMax 3"),
    files: ["changed etc/ssh/sshd_config.d/10-access.conf"],
    units: ["reload ssh.service"],
  },
  {
    name: "mode and group through [attributes]: set, and no unit is touched",
    edit: (lab) =>
      lab.edit(
        "machines/demo/machine.ini",
        "[ssh]",
        "[attributes]\nopt/nginx/www/about.html = mode 0640, group www-data\n[ssh]",
      ),
    files: ["attributes opt/nginx/www/about.html"],
    units: [],
    see: async (m) =>
      assert.equal(
        await inside(m, "stat -c '%a %U %G' /usr/local/opt/nginx/www/about.html"),
        "640 root www-data\n",
      ),
  },
  {
    name: "servers of a daemon that does not run: it stays so",
    edit: (lab) => lab.write({ "facts/all.env": "JOURNAL_RETENTION=2week\nNTP_SERVERS=ntp.example.org\n" }),
    files: ["changed lib/systemd/timesyncd.conf.d/50-servers.conf"],
    units: [],
  },
  {
    name: "a new service that a target wants: it starts",
    edit: (lab) =>
      lab.write({
        "machines/demo/lib/systemd/system/hello.service": HELLO,
        "machines/demo/lib/systemd/system/multi-user.target.wants/hello.service": {
          link: "../hello.service",
        },
      }),
    files: [
      "added lib/systemd/system/hello.service",
      "added lib/systemd/system/multi-user.target.wants/hello.service",
    ],
    units: ["start hello.service"],
    daemonReload: true,
  },
  {
    name: "[Install] of a running service: daemon-reload only",
    edit: (lab) => lab.edit("machines/demo/lib/systemd/system/hello.service", "x.target", "y.target"),
    files: ["changed lib/systemd/system/hello.service"],
    units: [],
    daemonReload: true,
  },
  {
    name: "a new service that nothing wants: it stays off",
    edit: (lab) => lab.write({ "machines/demo/lib/systemd/system/idle.service": HELLO }),
    files: ["added lib/systemd/system/idle.service"],
    units: [],
    daemonReload: true,
    see: async (m) => assert.equal(await inside(m, "systemctl is-active idle.service || true"), "inactive\n"),
  },
  {
    name: "a service's command: restart",
    edit: (lab) => lab.edit("machines/demo/lib/systemd/system/hello.service", "sleep infinity", "sleep 100d"),
    files: ["changed lib/systemd/system/hello.service"],
    units: ["restart hello.service"],
    daemonReload: true,
  },
  {
    name: "a socket with its service: the socket starts, the service waits for a connection",
    edit: (lab) =>
      lab.write({
        "machines/demo/lib/systemd/system/echo.socket": "[Socket]\nListenStream=/run/echo.sock\nAccept=no\n",
        "machines/demo/lib/systemd/system/echo.service": HELLO,
        "machines/demo/lib/systemd/system/sockets.target.wants/echo.socket": { link: "../echo.socket" },
      }),
    files: [
      "added lib/systemd/system/echo.service",
      "added lib/systemd/system/echo.socket",
      "added lib/systemd/system/sockets.target.wants/echo.socket",
    ],
    units: ["start echo.socket"],
    daemonReload: true,
  },
  {
    name: "a removed service: it stops, and its files and empty folders go",
    edit: (lab) => lab.remove("machines/demo/lib/systemd"),
    files: [
      "removed lib/systemd/system/echo.service",
      "removed lib/systemd/system/echo.socket",
      "removed lib/systemd/system/hello.service",
      "removed lib/systemd/system/idle.service",
      "removed lib/systemd/system/multi-user.target.wants/hello.service",
      "removed lib/systemd/system/sockets.target.wants/echo.socket",
    ],
    units: ["stop echo.socket", "stop hello.service"],
    daemonReload: true,
    see: async (m) =>
      assert.equal(
        await inside(m, "ls /usr/local/lib/systemd/system | tr '\\n' ' '; systemctl is-active hello || true"),
        "failure@.service failure@.service.d labctl-recover.service multi-user.target.wants nginx.service.d " +
          "service.d ssh.service.d sysinit.target.wants inactive\n",
      ),
  },
  {
    name: "a dropped layer: its files go, and nginx is Debian's own again",
    edit: (lab) => {
      lab.edit("machines/demo/machine.ini", "layers = web", "layers = base");
      lab.remove("machines/demo/opt");
      lab.edit("machines/demo/machine.ini", "opt/nginx/www/about.html = mode 0640, group www-data\n", "");
    },
    files: [
      "removed etc/nftables.d/50-web.nft",
      "removed lib/labctl/check.d/web",
      "removed lib/systemd/system/multi-user.target.wants/nginx.service",
      "removed lib/systemd/system/nginx.service.d/10-sandbox.conf",
      "removed libexec/web/nginx",
      "removed opt/nginx/conf/main.nginx",
      "removed opt/nginx/conf/sites.d/00-default.nginx",
      "removed opt/nginx/www/about.html",
      "removed opt/nginx/www/index.html",
      "removed opt/nginx/www/style.css",
    ],
    units: ["restart nginx.service"],
    daemonReload: true,
    see: async (m) => {
      assert.match(await page(m), /Welcome to nginx/);
      assert.equal(await inside(m, "test -e /usr/local/opt || echo gone"), "gone\n");
    },
  },
];

interface PlanJson {
  readonly files: readonly { readonly path: string; readonly change: string; readonly type: string }[];
  readonly units: readonly { readonly unit: string; readonly action: string; readonly reason: string }[];
  readonly daemonReload: boolean;
  readonly triggers: readonly { readonly name: string }[];
}

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

async function prepare(): Promise<{ lab: Lab; machine: Machine }> {
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const lab = labFor(bed, machine.name);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  return { lab, machine };
}

for (const row of EDITS) {
  test(row.name, async () => {
    prepared ??= prepare();
    const { lab, machine } = await prepared;
    const before = await unitStates(machine);
    const treeBefore = await liveTree(machine);
    row.edit(lab);
    const planned = JSON.parse((await lab.expect(2, ["plan", "demo", "--json"])).stdout) as PlanJson;
    assert.deepEqual(await liveTree(machine), treeBefore, "a plan changes nothing");
    const pushed = await lab.expect(0, ["push", "demo", "--json", "--no-confirm"]);
    const after = await unitStates(machine);
    const [outcome] = (JSON.parse(pushed.stdout) as { machines: { plan: PlanJson }[] }).machines;
    assert.deepEqual(outcome?.plan, planned, "push did what plan said");
    const files = planned.files.filter((f) => f.type !== "dir").map((f) => `${f.change} ${f.path}`);
    assert.deepEqual(files, row.files);
    assert.deepEqual(unitDifference(before, after), row.units, pushed.stderr);
    const actions = planned.units.filter((u) => u.action !== "none").map((u) => `${u.action} ${u.unit}`);
    const triggers = planned.triggers.map((t) => t.name);
    assert.deepEqual(actions.sort(), row.units);
    assert.deepEqual(triggers, row.triggers ?? []);
    assert.equal(planned.daemonReload, row.daemonReload ?? false);
    await row.see?.(machine);
    const again = await lab.expect(0, ["plan", "demo"]);
    assert.match(again.stdout, /nothing to do/);
  });
}
