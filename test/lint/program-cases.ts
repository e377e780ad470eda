/** Broken files that programs find, and those of our own readers that are no units. Data only. */
import { file, type LintCase, program, SYSTEM, service } from "./case.ts";

const nginxConf =
  "pid /run/x.pid;\nuser www-data;\nevents {}\nhttp {\n  include /usr/local/etc/sites/*.conf;\n}\n";
const site = (text: string): string => `server {\n  listen 80;\n  listen [::]:80;\n  ${text}\n}\n`;
const nginxCase = (name: string, bad: string, good: string, at = 4): LintCase => ({
  name,
  bad: { "etc/nginx/nginx.conf": nginxConf, "etc/sites/a.conf": site(bad) },
  good: { "etc/nginx/nginx.conf": nginxConf, "etc/sites/a.conf": site(good) },
  expect: ["nginx-config", "etc/sites/a.conf", at],
});
const rules = (rule: string): string =>
  `table inet x {\n  chain in {\n    type filter hook input priority 0; policy accept;\n    ${rule}\n  }\n}\n`;

export const PROGRAM_CASES: readonly LintCase[] = [
  nginxCase("an nginx directive that does not exist", "servr_name x;", "server_name x;"),
  nginxCase("an nginx directive without its semicolon", "server_name x", "server_name x;", 5),
  nginxCase("an nginx port out of range", "listen 99999;", "listen 127.0.0.1:9999;"),
  nginxCase(
    "an nginx value that is none, where the good twin needs a name, a certificate and files of the machine",
    "client_max_body_size lots;",
    "listen 443 ssl; ssl_certificate /etc/letsencrypt/x.pem; ssl_certificate_key /run/credentials/x; include /run/x.conf; location / { proxy_pass http://backend.lan:8080; }",
  ),
  {
    name: "a main nginx file that a unit binds over Debian's",
    bad: {
      [`${SYSTEM}/nginx.service.d/10-x.conf`]:
        "[Service]\nBindReadOnlyPaths=/usr/local/etc/web/main:/etc/nginx/nginx.conf\n",
      "etc/web/main": "events {}\nhttp { sendfil on; }\n",
    },
    good: {
      [`${SYSTEM}/nginx.service.d/10-x.conf`]:
        "[Service]\nBindReadOnlyPaths=/usr/local/etc/web/main:/etc/nginx/nginx.conf\n",
      "etc/web/main": "events {}\nhttp { sendfile on; include mime.types; }\n",
    },
    packages: "nginx-light",
    expect: ["nginx-config", "etc/web/main", 2],
  },
  file(
    "an nft rule that can't be parsed",
    "etc/x.nft",
    rules("tcp dprot 22 accept"),
    rules("tcp dport 22 accept"),
    "nft-ruleset",
    4,
  ),
  file(
    "an nft jump to a chain that is not there",
    "etc/x.nft",
    rules("jump nowhere"),
    rules('iif "eth7" accept'),
    "nft-ruleset",
    4,
  ),
  {
    name: "an nft error in an included file",
    bad: { "etc/x.nft": 'include "/usr/local/etc/parts/*.nft"\n', "etc/parts/a.nft": rules("accpt") },
    good: { "etc/x.nft": 'include "/usr/local/etc/parts/*.nft"\n', "etc/parts/a.nft": rules("accept") },
    expect: ["nft-ruleset", "etc/parts/a.nft", 4],
  },
  file(
    "an sshd keyword that does not exist",
    "etc/ssh/sshd_config.d/20-x.conf",
    "# x\nPermitRootLogn no\n",
    "# x\nMaxAuthTries 3\n",
    "sshd-config",
    2,
  ),
  file(
    "an sshd value that is none",
    "etc/ssh/sshd_config.d/20-x.conf",
    "# x\nMaxAuthTries lots\n",
    "# x\nHostKey /etc/ssh/ssh_host_rsa_key\n",
    "sshd-config",
    2,
  ),
  file(
    "a script that shellcheck warns about",
    "libexec/x",
    program("#!/bin/bash\ncd /srv\nrm -rf x\n"),
    program("#!/bin/bash\ncd /srv || exit 1\nrm -rf x\n"),
    "shellcheck-sc2164",
    2,
  ),
  file(
    "a script that bash can't read",
    "libexec/x",
    program("#!/bin/bash\ntrue\nif true; then\n"),
    program("#!/bin/bash\ntrue\nif true; then true; fi\n"),
    "shell-syntax",
    4,
  ),
  file(
    "a sourced script with a suffix only",
    "lib/x.sh",
    "# shellcheck shell=sh\necho $(( 1 + \n",
    "# shellcheck shell=sh\necho $(( 1 + 1 ))\n",
    "shell-syntax",
    2,
  ),
  file(
    "a module that Node.js can't read",
    "lib/x.mjs",
    "export const a = 1;\nconst b = ;\n",
    "export const a = 1;\nexport const b = 2;\n",
    "node-syntax",
    2,
  ),
  file(
    "a sudoers file that sudo refuses",
    "etc/sudoers.d/x",
    "# x\nwww-data ALL=(root NOPASSWD: /bin/true\n",
    "# x\nwww-data ALL=(root) NOPASSWD: /bin/true\n",
    "sudoers-syntax",
    2,
  ),
  file("JSON with a comma too many", "etc/x.json", '{\n  "a": 1,\n}\n', '{\n  "a": 1\n}\n', "json-syntax", 3),
  file(
    "a sysctl line without a value",
    "lib/sysctl.d/60-x.conf",
    "# x\nnet.ipv4.ip_forward 1\n",
    "# x\n-net.ipv4.ip_forward=1\n",
    "sysctl-syntax",
    2,
  ),
  file(
    "a tmpfiles line of an unknown type",
    "lib/tmpfiles.d/x.conf",
    "j /srv/x 0755\n",
    "d /srv/x 0755\n",
    "tmpfiles-syntax",
    1,
  ),
  file(
    "a tmpfiles line with a bad mode",
    "lib/tmpfiles.d/x.conf",
    "d /srv/x rwx\n",
    "d /srv/x - root\n",
    "tmpfiles-syntax",
    1,
  ),
  file(
    "an image's definition with a key that does not exist",
    "etc/images/debian.ini",
    `[image]\nsuorce = https://example.org/x\nsource = https://example.org/x\nsha256 = ${"ab".repeat(32)}\n`,
    `[image]\nsource = https://example.org/x\nsha256 = ${"ab".repeat(32)}\n`,
    "ini-unknown",
    2,
    { help: "`source`" },
  ),
  file(
    "a journald key that does not exist",
    "lib/systemd/journald.conf.d/60-x.conf",
    "[Journal]\nSystemMaxUsed=1G\n",
    "[Journal]\nSystemMaxUse=1G\n",
    "unit-unknown-key",
    2,
    { help: "`SystemMaxUse`" },
  ),
  file(
    "a timesyncd section that does not exist",
    "lib/systemd/timesyncd.conf.d/60-x.conf",
    "[Tine]\nNTP=a\n",
    "[Time]\nNTP=a\n",
    "unit-unknown-section",
    2,
  ),
  file(
    "what only systemd itself refuses",
    `${SYSTEM}/probe.service`,
    service("IPAddressAllow=10.0.0.300"),
    service("IPAddressAllow=10.0.0.0/8", "RestartSteps=5"),
    "systemd-analyze",
    5,
  ),
];

const unit = `${SYSTEM}/probe.service.hbs`;

/** The line is the template's or the partial's, not the output's. */
export const TEMPLATE_CASES: readonly LintCase[] = [
  {
    name: "a line after a block that renders to nothing",
    bad: {
      [unit]:
        '{{!-- a\ncomment --}}\n{{#if (eq KIND "b")}}\n# b\n{{/if}}\n[Service]\nExecStart=/bin/true\nRestrt=no\n',
    },
    good: {
      [unit]:
        '{{!-- a\ncomment --}}\n{{#if (eq KIND "b")}}\n# b\n{{/if}}\n[Service]\nExecStart=/bin/true\nRestart=no\n',
    },
    facts: ["KIND = a"],
    expect: ["unit-unknown-key", unit, 8],
  },
  {
    name: "a line inside #each, for each item the same",
    bad: {
      [unit]:
        "[Service]\nExecStart=/bin/true\n{{#each (split NAMES)}}\nEnvironment={{this}}=1\nEnvironment={{this}} x\n{{/each}}\nNice=1\n",
    },
    good: {
      [unit]:
        "[Service]\nExecStart=/bin/true\n{{#each (split NAMES)}}\nEnvironment={{this}}=1\nEnvironment={{this}}=2\n{{/each}}\nNice=1\n",
    },
    facts: ["NAMES = a"],
    expect: ["unit-bad-value", unit, 5],
  },
  {
    name: "a line after a value of several lines",
    bad: { [unit]: '[Service]\nExecStart=/bin/true\n{{join (split LINES ",") "\\n"}}\nRestrt=no\n' },
    good: { [unit]: '[Service]\nExecStart=/bin/true\n{{join (split LINES ",") "\\n"}}\nRestart=no\n' },
    facts: ["LINES = # one,# two"],
    expect: ["unit-unknown-key", unit, 4],
  },
  {
    name: "a line of a value that the template puts in",
    bad: { [unit]: "[Service]\nExecStart=/bin/true\n\nRestart={{HOW}}\n" },
    good: { [unit]: "[Service]\nExecStart=/bin/true\n\nRestart=on-{{HOW}}\n" },
    facts: ["HOW = failure"],
    expect: ["unit-bad-value", unit, 4],
  },
  {
    name: "a line in an indented partial inside #each",
    bad: {
      [unit]:
        "# head\n[Service]\nExecStart=/bin/true\n{{#each (split NAMES)}}\n  {{> part name=this}}\n{{/each}}\n",
      "_partials/part.hbs": "# of {{name}}\nEnvironment={{name}}=1\nEnvironmnt={{name}}=1\n",
    },
    good: {
      [unit]:
        "# head\n[Service]\nExecStart=/bin/true\n{{#each (split NAMES)}}\n  {{> part name=this}}\n{{/each}}\n",
      "_partials/part.hbs": "# of {{name}}\nEnvironment={{name}}=1\nEnvironment={{name}}=1\n",
    },
    facts: ["NAMES = a"],
    expect: ["unit-unknown-key", "_partials/part.hbs", 3],
  },
];
