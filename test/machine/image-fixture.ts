/**
 * What tests of images need in a machine: a small root file system, and a web server that is good or bad at its work. Must not
 * know what the layer does with them.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Machine } from "../../src/twin/machine.ts";
import { inside } from "./push-fixture.ts";

export const STORE = "/var/lib/local/images";

/**
 * Serves /srv/images on port 8000 of the machine itself; the first part of a path says how:
 * `good` knows ranges and tags; `plain` knows neither, nor says how long a file is; `cut` breaks off after 900 kB; `slow` sends
 * 1 MB a second, `slow-plain` as well; `moved` redirects to good; `gone` has nothing. Each answer is a line of /srv/http.log.
 */
const SERVER = `
import { createServer } from "node:http";
import { appendFileSync, readFileSync, existsSync } from "node:fs";
import { createHash } from "node:crypto";
createServer((asked, answer) => {
  const [, manner, ...rest] = asked.url.split("/");
  const file = "/srv/images/" + rest.join("/");
  const say = (status, bytes) => appendFileSync("/srv/http.log", [manner, rest.join("/"), asked.headers.range ?? "all", status, bytes].join(" ") + "\\n");
  if (manner === "gone" || !existsSync(file)) { say(404, 0); answer.writeHead(404).end("no such file"); return; }
  if (manner === "moved") { say(302, 0); answer.writeHead(302, { location: "/good/" + rest.join("/") }).end("moved"); return; }
  const all = readFileSync(file);
  const tag = '"' + createHash("sha256").update(all).digest("hex").slice(0, 16) + '"';
  let from = 0;
  let status = 200;
  const headers = {};
  if (!manner.endsWith("plain")) {
    headers.etag = tag;
    const range = /^bytes=(\\d+)-$/.exec(asked.headers.range ?? "");
    const condition = asked.headers["if-range"];
    if (range && (condition === undefined || condition === tag)) {
      from = Number(range[1]);
      if (from >= all.length) { say(416, 0); answer.writeHead(416, { "content-range": "bytes */" + all.length }).end(); return; }
      status = 206;
      headers["content-range"] = "bytes " + from + "-" + (all.length - 1) + "/" + all.length;
    }
  }
  let body = all.subarray(from);
  if (!manner.endsWith("plain")) headers["content-length"] = body.length;
  answer.writeHead(status, headers);
  if (manner === "cut" && body.length > 900000) {
    say(status, 900000);
    answer.write(body.subarray(0, 900000), () => answer.destroy());
    return;
  }
  if (manner.startsWith("slow")) {
    say(status, body.length);
    const tick = setInterval(() => {
      answer.write(body.subarray(0, 50000));
      body = body.subarray(50000);
      if (body.length === 0) { clearInterval(tick); answer.end(); }
    }, 50);
    answer.on("close", () => clearInterval(tick));
    return;
  }
  say(status, body.length);
  answer.end(body);
}).listen(8000, "127.0.0.1");
`;

/** Starts the server, and packs a tree of busybox with what unpacking likes to lose; some 2 MB that do not compress. */
export async function serveImages(machine: Machine): Promise<void> {
  await inside(
    machine,
    `set -e; mkdir -p /srv/images /srv/tree; cat >/srv/server.mjs <<'END'
${SERVER}
END
     systemd-run --quiet --unit=image-server node /srv/server.mjs
     cd /srv/tree; mkdir -p usr/bin usr/lib usr/share etc var/lib dev proc sys run tmp root boot
     cp "$(command -v busybox)" usr/bin/busybox; ln -s busybox usr/bin/sh; ln -s usr/bin bin
     ldd usr/bin/busybox 2>/dev/null | grep -o '/lib[^ ]*' | while read -r l; do mkdir -p ".$(dirname "$l")"; cp "$l" ".$l"; done
     cp usr/bin/busybox usr/bin/ping; setcap cap_net_raw+ep usr/bin/ping; cp usr/bin/busybox usr/bin/su; chmod 4755 usr/bin/su
     head -c 2000000 /dev/urandom >usr/share/noise; ln usr/share/noise usr/share/same; echo one >etc/file; chown 7:8 etc/file; chmod 1777 tmp
     mknod dev/null c 1 3; for i in $(seq 200); do echo $i >var/lib/$i; done
     tar --zstd --xattrs --xattrs-include=security.capability --numeric-owner -cf /srv/images/tree.tar.zst .
     for i in $(seq 50); do curl -s -o /dev/null 127.0.0.1:8000/gone/x && { : >/srv/http.log; exit 0; }; sleep 0.1; done; exit 1`,
  );
}

/** The server's answers since the last question: `MANNER FILE RANGE STATUS BYTES`. */
export async function answers(machine: Machine): Promise<readonly string[]> {
  const said = await inside(machine, "cat /srv/http.log; : >/srv/http.log");
  return said.trim() === "" ? [] : said.trim().split("\n");
}

/** SHA-256 of a file in the machine. */
export async function digest(machine: Machine, file: string): Promise<string> {
  return (await inside(machine, `sha256sum <${file}`)).slice(0, 64);
}

/** Writes a definition as `labctl` would push it. */
export async function define(machine: Machine, name: string, text: string): Promise<void> {
  await inside(
    machine,
    `mkdir -p /usr/local/etc/images; cat >/usr/local/etc/images/${name}.ini <<'END'\n${text}\nEND`,
  );
}

/** Starts an image's unit, which must fail; what it said. */
export async function refused(machine: Machine, name: string): Promise<string> {
  return inside(
    machine,
    `since=$(date +%s.%N); systemctl start image@${name} 2>/dev/null && exit 1; journalctl --sync; journalctl -o cat --since "@$since" -u image@${name}; systemctl reset-failed image@${name}`,
  );
}

/** Starts an image's unit, which must succeed; its NAME.env. */
export async function started(machine: Machine, name: string): Promise<Readonly<Record<string, string>>> {
  const end = await machine.runInside([
    "bash",
    "-c",
    `systemctl restart image@${name} || { journalctl -o cat -n 40 -u image@${name} -u image-build@${name}; exit 1; }; cat /var/lib/local/images/${name}.env`,
  ]);
  assert.equal(end.status, 0, end.stdout + end.stderr);
  return Object.fromEntries(
    end.stdout
      .trim()
      .split("\n")
      .map((line) => line.split(/=(.*)/s).slice(0, 2)),
  );
}

/** A file in the machine that was made on the host. */
export const put = (machine: Machine, path: string, bytes: Buffer): Promise<string> =>
  inside(
    machine,
    `mkdir -p $(dirname ${path}); base64 -d >${path} <<'END'\n${bytes.toString("base64")}\nEND`,
  );

/** `start`s an image's unit without waiting, and returns when it has fetched some of a slow file. */
export const begin = (machine: Machine, name: string): Promise<string> =>
  inside(
    machine,
    `systemctl start --no-block image@${name}; for i in $(seq 200); do s=$(find ${STORE}/partial -type f -size +300k); [ -n "$s" ] && exit 0; sleep 0.05; done; journalctl -o cat -n 5 -u image@${name}; exit 1`,
  );

/** Kills an image's unit while it starts. */
export const killed = (machine: Machine, name: string): Promise<string> =>
  inside(
    machine,
    `systemctl kill -s KILL image@${name}; for i in $(seq 100); do systemctl is-failed -q image@${name} && break; sleep 0.05; done; systemctl reset-failed image@${name}`,
  );

/** A tree of its own digest: that of the others with another file in it. */
export async function variant(machine: Machine, name: string): Promise<string> {
  await inside(
    machine,
    `cd /srv/tree; echo ${name} >etc/variant; tar --zstd --xattrs --xattrs-include=security.capability --numeric-owner -cf /srv/images/${name} .`,
  );
  return digest(machine, `/srv/images/${name}`);
}

/** GnuPG with keys of its own, on the host; `forget` removes them. */
export function keyring(): {
  readonly gpg: (args: readonly string[], input?: Buffer) => Buffer;
  readonly forget: () => void;
} {
  const home = mkdtempSync(join(tmpdir(), "keys-"));
  const options = ["--homedir", home, "--batch", "--quiet", "--pinentry-mode=loopback", "--passphrase="];
  return {
    gpg: (args, input) => {
      const done = spawnSync("gpg", [...options, ...args], { input });
      assert.equal(done.status, 0, String(done.stderr));
      return done.stdout;
    },
    forget: () => rmSync(home, { recursive: true, force: true }),
  };
}

/** Everything in the store but what trees hold. */
export const stored = (machine: Machine): Promise<string> =>
  inside(
    machine,
    `cd ${STORE}; find . -path './trees/*/*' -prune -o -path './locks/*' -o -type f -print -o -path './trees/*' -print | sort`,
  );
