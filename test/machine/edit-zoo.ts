/**
 * A machine folder with a unit of each kind, and what people do to it: random edits of units, of what units refer to, of
 * facts and layers, and what an administrator does on the machine meanwhile. Must not know what any of it should lead to.
 */
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { SeededRandom } from "../seeded-random.ts";
import type { Files } from "../temporary-repository.ts";
import type { Lab } from "./push-fixture.ts";

const UNITS = "lib/systemd/system";
const HOME = "machines/demo";
const sleeps = (more = "", unit = ""): string =>
  `[Unit]\nDescription=one of the zoo\n${unit}[Service]\nExecStart=/bin/sleep infinity\n${more}`;

/** Services that run all the time, each with another tie to files or units. */
const SERVICES: Readonly<Record<string, string>> = {
  "plain.service": sleeps("Environment=A=1 B=2\nNice=1\n"),
  "reloader.service": sleeps(
    "ExecReload=/bin/true\n[X-Labctl]\nReloadOn=/usr/local/etc/reloader.d\nRestartOn=/usr/local/etc/reloader.key\n",
  ),
  "envy.service": sleeps(
    "EnvironmentFile=/usr/local/etc/envy.env\nEnvironmentFile=-/usr/local/etc/envy-more.env\n",
  ),
  "binder.service": sleeps(
    "ExecReload=/bin/true\nBindReadOnlyPaths=/usr/local/etc/bound.conf:/run/zoo-bound.conf /usr/local/etc/bound.d:/run/zoo-bound.d\n",
  ),
  "creds.service": sleeps("LoadCredential=token:/usr/local/etc/token\n"),
  "configured.service":
    "[Service]\nExecStart=/bin/sh -c 'exec sleep infinity' sh /usr/local/etc/configured.conf\nExecReload=/bin/true\n",
  "script.service": "[Service]\nExecStart=/usr/local/libexec/zoo-script\n",
  "once.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
  "zoo-a.service": sleeps(),
  "zoo-b.service": sleeps("Restart=always\n"),
  "sliced.service": sleeps("Slice=zoo.slice\n"),
  "needy.service": sleeps("", "Requires=plain.service\nAfter=plain.service\n"),
  "part.service": sleeps("", "PartOf=reloader.service\nBindsTo=envy.service\n"),
  "mounted.service": sleeps("WorkingDirectory=/srv/zoo\n", "RequiresMountsFor=/srv/zoo\n"),
};

const OTHERS: Readonly<Record<string, string>> = {
  "idle.service": sleeps(),
  "worker@.service": sleeps("SyslogIdentifier=worker-%i\n"),
  "echo.socket": "[Socket]\nListenStream=/run/echo.sock\n",
  "echo.service": sleeps(),
  "conn.socket": "[Socket]\nListenStream=/run/conn.sock\nAccept=yes\n",
  "conn@.service": "[Service]\nStandardInput=socket\nExecStart=/bin/cat\n",
  "tick.timer": "[Timer]\nOnCalendar=yearly\n",
  "tick.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
  "watch.path": "[Path]\nPathExists=/run/zoo-never\n",
  "watch.service": sleeps(),
  "srv-zoo.mount": "[Mount]\nWhat=tmpfs\nWhere=/srv/zoo\nType=tmpfs\nOptions=size=1M\n",
  "zoo.slice": "[Slice]\nCPUWeight=50\n",
  "zoo.target": "[Unit]\nDescription=the zoo\n",
  "member.service": sleeps("", "PartOf=zoo.target\n"),
};

const WANTED = [
  ...Object.keys(SERVICES),
  ..."echo.socket conn.socket tick.timer watch.path srv-zoo.mount zoo.target".split(" "),
];

/** Files below a lab's root. */
export const ZOO: Files = {
  ...Object.fromEntries(
    Object.entries({ ...SERVICES, ...OTHERS }).map(([name, text]) => [`${HOME}/${UNITS}/${name}`, text]),
  ),
  ...Object.fromEntries(
    WANTED.map((name) => [`${HOME}/${UNITS}/multi-user.target.wants/${name}`, { link: `../${name}` }]),
  ),
  [`${HOME}/${UNITS}/multi-user.target.wants/worker@a.service`]: { link: "../worker@.service" },
  [`${HOME}/${UNITS}/multi-user.target.wants/worker@b.service`]: { link: "../worker@.service" },
  [`${HOME}/${UNITS}/zoo.target.wants/member.service`]: { link: "../member.service" },
  [`${HOME}/${UNITS}/plain.service.d/50-more.conf`]: "[Service]\nUMask=0027\n",
  [`${HOME}/${UNITS}/zoo-.service.d/50-all.conf`]: "[Service]\nLimitCORE=0\n",
  [`${HOME}/lib/systemd/user/mine.service`]: sleeps(),
  [`${HOME}/etc/reloader.d/a.conf`]: "1\n",
  [`${HOME}/etc/reloader.key`]: "1\n",
  [`${HOME}/etc/envy.env`]: "E=1\n",
  [`${HOME}/etc/bound.conf`]: "1\n",
  [`${HOME}/etc/bound.d/a`]: "1\n",
  [`${HOME}/etc/token`]: "1\n",
  [`${HOME}/etc/configured.conf`]: "1\n",
  [`${HOME}/libexec/zoo-script`]: { text: "#!/bin/sh\nexec sleep infinity\n", mode: 0o755 },
};

const HARD: Readonly<Record<string, readonly string[]>> = {
  Nice: ["1", "2", "3"],
  OOMScoreAdjust: ["10", "20", "0"],
  UMask: ["0022", "0027", "0077"],
  LimitNOFILE: ["1000", "2000:3000"],
  Environment: ["A=1", "A=2", "B='x y'", ""],
  PrivateTmp: ["yes", "no", "true"],
  ProtectHome: ["yes", "no", "read-only"],
  ProtectSystem: ["full", "no", "yes"],
  NoNewPrivileges: ["yes", "no"],
  StandardOutput: ["null", "journal"],
  SyslogIdentifier: ["one", "two"],
  LockPersonality: ["yes", "off"],
  RestrictRealtime: ["1", "0"],
  TimerSlackNSec: ["1ms", "1000us", "2ms"],
  RuntimeDirectory: ["zoo-1", "zoo-2", "zoo-1 zoo-2"],
};
const SOFT: Readonly<Record<string, readonly string[]>> = {
  Restart: ["always", "no", "on-failure"],
  RestartSec: ["1", "1s", "1000ms", "2s"],
  TimeoutStopSec: ["5", "5s", "9"],
  KillMode: ["mixed", "control-group"],
  MemoryMax: ["1G", "1024M", "2G"],
  CPUWeight: ["50", "60"],
  TasksMax: ["50", "infinity"],
  SuccessExitStatus: ["9", "9 10", "10 9"],
  ExecStopPost: ["/bin/true", ""],
  ExecReload: ["/bin/true", "/bin/true --again", ""],
};
const UNIT: Readonly<Record<string, readonly string[]>> = {
  Description: ["a", "b"],
  Documentation: ["man:a(1)", ""],
  After: ["network.target", "basic.target local-fs.target"],
  ConditionPathExists: ["/etc", "/usr", ""],
  StartLimitBurst: ["100", "101"],
  Wants: ["idle.service", "zoo-a.service", "worker@c.service"],
  Requires: ["zoo-a.service", "worker@a.service"],
  PartOf: ["zoo-b.service", "configured.service"],
  PropagatesReloadTo: ["reloader.service", "zoo-a.service"],
  Conflicts: ["idle.service"],
};
const OF_TYPE: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  Socket: {
    Backlog: ["100", "200"],
    SocketMode: ["0600", "0666"],
    MaxConnections: ["64", "65"],
    TriggerLimitBurst: ["1000", "2000"],
    ListenStream: ["/run/zoo-more.sock", ""],
  },
  Timer: {
    OnCalendar: ["yearly", "2037-01-01", ""],
    AccuracySec: ["1min", "60s", "2min"],
    OnBootSec: ["300d"],
  },
  Path: { PathExists: ["/run/zoo-never2", ""], MakeDirectory: ["no", "yes"] },
  Mount: { Options: ["size=2M", "size=1M"], TimeoutSec: ["30", "30s", "1min"] },
  Slice: { CPUWeight: ["50", "70"], MemoryMax: ["3G", "3072M"] },
};

/** Makes one edit and says what it was; undefined where it did not apply. */
export function randomEdit(lab: Lab, random: SeededRandom): string | undefined {
  const edit = random.pick(EDITS);
  const what = edit.run(lab, random);
  return what === undefined ? undefined : `${edit.name}: ${what}`;
}

/** What an administrator does on the machine, as a shell line; nobody has to be told of it. */
export function randomIntervention(random: SeededRandom): string {
  const unit = random.pick([
    ...Object.keys(SERVICES),
    "echo.service",
    "idle.service",
    "worker@a.service",
    "member.service",
  ]);
  return random.chance(0.6)
    ? `systemctl stop ${unit} 2>/dev/null; true`
    : `systemctl start ${unit} 2>/dev/null; true`;
}

interface RandomEdit {
  readonly name: string;
  run(lab: Lab, random: SeededRandom): string | undefined;
}

function unitFiles(lab: Lab): string[] {
  const root = join(lab.root, HOME, UNITS);
  if (!existsSync(root)) return [];
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((name) => lstatSync(join(root, name)).isFile())
    .sort();
}

function links(lab: Lab): string[] {
  const root = join(lab.root, HOME, UNITS);
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((name) => lstatSync(join(root, name)).isSymbolicLink())
    .sort();
}

const read = (lab: Lab, path: string): string => readFileSync(join(lab.root, HOME, path), "utf8");
const write = (lab: Lab, path: string, text: string): void => lab.write({ [`${HOME}/${path}`]: text });

/** A header and a line that fit a unit file or drop-in of this name. */
function randomSetting(name: string, random: SeededRandom, soft = false): [section: string, line: string] {
  const type = /([a-z]+)(?:\.d\/.*)?$/.exec(name.replace(/\.d\/[^/]*$/, ""))?.[1] ?? "service";
  const section = type[0]?.toUpperCase() + type.slice(1);
  const own = section === "Service" ? (soft || random.chance(0.4) ? SOFT : HARD) : OF_TYPE[section];
  const [header, table] = own === undefined || random.chance(0.3) ? ["Unit", UNIT] : [section, own];
  const key = random.pick(Object.keys(table));
  return [header, `${key}=${random.pick(table[key] ?? [""])}`];
}

/** Puts a line after its section's header, which is added where there is none. */
function insert(text: string, section: string, line: string): string {
  const header = `[${section}]\n`;
  return text.includes(header)
    ? text.replace(header, () => `${header}${line}\n`)
    : `${text}${header}${line}\n`;
}

/** Lines without which a unit would not load or would not stay up. */
const NEEDED =
  /^(\[|ExecStart=|Type=|RemainAfterExit=|Listen|Accept|OnCalendar=|PathExists=|What|Where|StandardInput)/;

const EDITS: readonly RandomEdit[] = [
  {
    name: "setting",
    run(lab, random) {
      const name = random.pick(unitFiles(lab));
      const [section, line] = randomSetting(name, random);
      // An emptied list of a socket's or timer's only entry would be another unit's test.
      if (/^(ListenStream|OnCalendar|PathExists)=$/.test(line)) return undefined;
      write(lab, `${UNITS}/${name}`, insert(read(lab, `${UNITS}/${name}`), section, line));
      return `${name} [${section}] ${line}`;
    },
  },
  {
    name: "setting",
    run: (lab, random) => EDITS[0]?.run(lab, random),
  },
  {
    name: "line taken out",
    run(lab, random) {
      const name = random.pick(unitFiles(lab));
      const lines = read(lab, `${UNITS}/${name}`).split("\n");
      const at = random.below(lines.length);
      const line = lines[at] ?? "";
      if (line === "" || NEEDED.test(line) || `${lines[at - 1] ?? ""}${line}`.includes("\\"))
        return undefined;
      write(lab, `${UNITS}/${name}`, lines.filter((_, i) => i !== at).join("\n"));
      return `${name} ${line}`;
    },
  },
  {
    name: "comment, blank, spelling",
    run(lab, random) {
      const name = random.pick(unitFiles(lab));
      const before = read(lab, `${UNITS}/${name}`);
      const after = random.pick([
        (text: string) => `# ${random.below(1000)}\n${text}`,
        (text: string) => text.replace(/\n/, "\n\n; nothing\n"),
        (text: string) => text.replace(/=/, " = "),
        (text: string) => text.replaceAll("=yes", "=true"),
        (text: string) => `${text}[X-Zoo]\nNote=${random.below(1000)}\n`,
        (text: string) => text.replace(/^(ExecStart=\S+) (\S+)$/m, "$1 \\\n  $2"),
      ])(before);
      if (after === before) return undefined;
      write(lab, `${UNITS}/${name}`, after);
      return name;
    },
  },
  {
    name: "drop-in",
    run(lab, random) {
      const folder = random.pick([
        ...Object.keys(SERVICES),
        "worker@.service",
        "worker@a.service",
        "zoo-.service",
        "echo.socket",
        "echo.service",
        "tick.timer",
        "srv-zoo.mount",
        "zoo.slice",
        "zoo.target",
        "ssh.service",
      ]);
      const name = `${folder}.d/${random.pick(["10-x", "50-more", "90-z"])}.conf`;
      const [section, line] = randomSetting(name, random, folder === "ssh.service");
      if (/^(ListenStream|OnCalendar|PathExists)=$/.test(line)) return undefined;
      if (folder === "ssh.service" && section === "Unit" && !/^(Desc|Doc|Cond)/.test(line)) return undefined;
      if (folder === "ssh.service" && /^(Exec|TasksMax|MemoryMax|Restart)/.test(line)) return undefined;
      write(lab, `${UNITS}/${name}`, `[${section}]\n${line}\n`);
      return `${name} [${section}] ${line}`;
    },
  },
  {
    name: "drop-in taken out",
    run(lab, random) {
      const dropIns = unitFiles(lab).filter((name) => name.includes(".d/"));
      if (dropIns.length === 0) return undefined;
      const name = random.pick(dropIns);
      lab.remove(`${HOME}/${UNITS}/${name}`);
      return name;
    },
  },
  {
    name: "drop-in for all services",
    run(lab, random) {
      const line = random.pick(["Description=%N of all", "Documentation=man:all(1)", "StartLimitBurst=77"]);
      write(lab, `${UNITS}/service.d/70-all.conf`, `[Unit]\n${line}\n`);
      return line;
    },
  },
  {
    name: "referenced file",
    run(lab, random) {
      const path = random.pick(
        "etc/reloader.d/a.conf etc/reloader.d/b.conf etc/reloader.key etc/envy.env etc/envy-more.env etc/bound.conf etc/bound.d/a etc/bound.d/b etc/token etc/configured.conf".split(
          " ",
        ),
      );
      if (existsSync(join(lab.root, HOME, path)) && /-more|\/b/.test(path) && random.chance(0.5)) {
        lab.remove(`${HOME}/${path}`);
        return `${path} removed`;
      }
      write(lab, path, path.endsWith(".env") ? `E=${random.below(1000)}\n` : `${random.below(1000)}\n`);
      return path;
    },
  },
  {
    name: "program",
    run(lab, random) {
      const text = `#!/bin/sh\n# ${random.below(1000)}\nexec sleep infinity\n`;
      lab.write({ [`${HOME}/libexec/zoo-script`]: { text, mode: 0o755 } });
      return "zoo-script";
    },
  },
  {
    name: "mode",
    run(lab) {
      const ini = lab.read(`${HOME}/machine.ini`);
      const line = "[attributes]\netc/token = mode 0600\n";
      lab.write({ [`${HOME}/machine.ini`]: ini.includes(line) ? ini.replace(line, "") : `${ini}${line}` });
      return "etc/token";
    },
  },
  {
    name: "unit removed",
    run(lab, random) {
      const name = random.pick([
        ...Object.keys(SERVICES),
        "echo.socket",
        "tick.timer",
        "watch.path",
        "zoo.slice",
      ]);
      // What others require must stay, or their start would fail.
      if (/^(plain|envy|zoo-a|reloader)\.service$/.test(name) || !unitFiles(lab).includes(name))
        return undefined;
      lab.remove(`${HOME}/${UNITS}/${name}`);
      const wants = `${HOME}/${UNITS}/multi-user.target.wants/${name}`;
      if (links(lab).includes(`multi-user.target.wants/${name}`)) lab.remove(wants);
      return name;
    },
  },
  {
    name: "unit added",
    run(lab, random) {
      const name = random.pick(Object.keys(ZOO).filter((path) => path.startsWith(`${HOME}/${UNITS}/`)));
      const made = ZOO[name];
      if (made === undefined || existsSync(join(lab.root, name))) return undefined;
      if (typeof made === "object" && "link" in made) {
        const target = join(lab.root, name, "..", made.link);
        if (!existsSync(target)) return undefined;
      }
      lab.write({ [name]: made });
      return name.slice(HOME.length + UNITS.length + 2);
    },
  },
  {
    name: "link taken out",
    run(lab, random) {
      const name = random.pick(links(lab));
      lab.remove(`${HOME}/${UNITS}/${name}`);
      return name;
    },
  },
  {
    name: "instance",
    run(lab, random) {
      const name = `multi-user.target.wants/worker@${random.pick(["a", "b", "c", "d"])}.service`;
      if (links(lab).includes(name)) lab.remove(`${HOME}/${UNITS}/${name}`);
      else lab.write({ [`${HOME}/${UNITS}/${name}`]: { link: "../worker@.service" } });
      return name;
    },
  },
  {
    name: "mask",
    run(lab, random) {
      const name = random.pick([
        "zoo-b.service",
        "once.service",
        "echo.service",
        "tick.timer",
        "script.service",
      ]);
      const path = `${HOME}/${UNITS}/${name}`;
      const masked = links(lab).includes(name);
      if (masked || unitFiles(lab).includes(name)) lab.remove(path);
      lab.write({ [path]: masked ? (ZOO[path] ?? "") : { link: "/dev/null" } });
      return `${name} ${masked ? "unmasked" : "masked"}`;
    },
  },
  {
    name: "alias",
    run(lab) {
      const name = "zoo-alias.service";
      if (links(lab).includes(name)) lab.remove(`${HOME}/${UNITS}/${name}`);
      else lab.write({ [`${HOME}/${UNITS}/${name}`]: { link: "plain.service" } });
      return name;
    },
  },
  {
    name: "fact",
    run(lab, random) {
      const facts = random.pick([
        `{ "WEB_MAX_BODY": "${1 + random.below(9)}m" }`,
        `{ "WEB_DOMAIN": "zoo-${random.below(1000)}.example" }`,
        `{ "WEB_PORT": ${8000 + random.below(5)} }`,
        `{ "NTP_SERVERS": "ntp${random.below(9)}.example.org" }`,
      ]);
      lab.write({ "facts/demo.json": `${facts}\n` });
      return facts;
    },
  },
  {
    name: "site, page, check",
    run(lab, random) {
      const n = random.below(1000);
      const [path, text] = random.pick([
        [`${HOME}/opt/nginx/conf/sites.d/60-zoo.nginx`, `server { listen 8099; return 200 '${n}\\n'; }\n`],
        [`${HOME}/opt/nginx/www/zoo.html`, `${n}\n`],
        [`${HOME}/lib/sysctl.d/80-zoo.conf`, `net.ipv4.tcp_fin_timeout = ${30 + (n % 20)}\n`],
        [`${HOME}/lib/tmpfiles.d/zoo.conf`, `d /run/zoo-${n} 0755 root root -\n`],
      ] as const);
      lab.write({ [path]: text });
      return path;
    },
  },
  {
    name: "shipped layer",
    run(lab, random) {
      const path = random.pick([
        "layers/web/lib/systemd/system/nginx.service.d/10-sandbox.conf",
        "layers/base/lib/systemd/system/service.d/10-failure.conf",
        "layers/base/lib/systemd/system/labctl-recover.service",
        "layers/base/lib/systemd/system/ssh.service.d/10-config.conf",
        "layers/base/lib/systemd/system/failure@.service",
      ]);
      const text = lab.read(path);
      const after = random.pick([
        (t: string) => `# ${random.below(1000)}\n${t}`,
        (t: string) => insert(t, "Unit", `Documentation=man:zoo-${random.below(9)}(1)`),
        (t: string) => t.replace("RestartSec=1s", "RestartSec=1000ms"),
        (t: string) => t.replace(/UMask=00\d\d/, `UMask=00${random.pick(["77", "27"])}`),
        (t: string) => t.replace("PrivateDevices=yes\n", ""),
        (t: string) =>
          t.replace("ProtectClock=yes\nProtectHostname=yes", "ProtectHostname=on\nProtectClock=1"),
      ])(text);
      if (after === text) return undefined;
      lab.write({ [path]: after });
      return path;
    },
  },
  {
    name: "layers",
    run(lab, random) {
      if (!random.chance(0.4)) return undefined;
      const ini = lab.read(`${HOME}/machine.ini`);
      const less = ini.includes("layers = web");
      const after = less
        ? ini.replace("layers = web", "layers = base")
        : ini.replace("layers = base", "layers = web");
      lab.write({ [`${HOME}/machine.ini`]: after });
      return less ? "without web" : "with web";
    },
  },
];
