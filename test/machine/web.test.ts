/** The layer web: a reload of nginx loses nobody, and fails where nginx does not take the configuration. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, page } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const SITE = "/usr/local/opt/nginx/conf/sites.d/50-test.nginx";
const site = (text: string): string =>
  `server { listen 8081; location / { default_type text/plain; return 200 "${text}"; } }\n`;

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.write({ "machines/demo/opt/nginx/conf/sites.d/50-test.nginx": site("0") });
    await lab.expect(0, ["push", "demo"]);
    return { machine, lab };
  });
  return prepared;
}

test("soon after a reload every answer is the new one, and no connection is lost by it", async () => {
  const { machine } = await theMachine();
  const said = await inside(
    machine,
    `cat >/run/load.mjs <<'END'
import http from "node:http";
let asked = 0, lost = 0;
const ask = () => { asked++; http.get({ host: "127.0.0.1", port: 8081, agent: false }, (r) => r.resume()).on("error", () => lost++); };
const timer = setInterval(ask, 4);
process.on("SIGTERM", () => { clearInterval(timer); setTimeout(() => { console.log(asked, lost); process.exit(); }, 300); });
END
     node /run/load.mjs >/run/load & load=$!
     wrong=0
     for i in $(seq 12); do
       sed -i "s/return 200 \\".*\\"/return 200 \\"$i\\"/" ${SITE}
       systemctl reload nginx; sleep 0.3
       for n in 1 2 3; do [ "$(curl -s http://127.0.0.1:8081/)" = "$i" ] || wrong=$((wrong + 1)); done
     done
     kill $load; wait $load; echo "wrong $wrong"; cat /run/load; systemctl show -P NRestarts nginx
     pgrep -c -P "$(cat /run/local/nginx/nginx.pid)"; grep -rh worker_processes /usr/local/opt/nginx/conf/main.nginx`,
  );
  const [wrong, load = "", restarts, workers] = said.split("\n");
  assert.equal(wrong, "wrong 0", said);
  const [asked = 0, lost] = load.split(" ").map(Number);
  assert.ok(asked > 100, load);
  assert.equal(lost, 0);
  assert.equal(restarts, "0");
  // As many as a fresh start has: none of the old ones was replaced, none is left.
  await inside(machine, "systemctl restart nginx");
  assert.equal(workers, (await inside(machine, 'pgrep -c -P "$(cat /run/local/nginx/nginx.pid)"')).trim());
});

test("a configuration that passes nginx's own test and is then refused fails the reload, and is taken back", async () => {
  const { lab, machine } = await theMachine();
  await inside(
    machine,
    `systemd-run -q --unit=taken node -e 'require("net").createServer().listen(8088)'; for i in $(seq 50); do ss -ltn | grep -q :8088 && break; sleep 0.1; done`,
  );
  lab.write({
    "machines/demo/opt/nginx/conf/sites.d/50-test.nginx": site("new").replace("8081", "8088"),
  });
  const pushed = await lab.expect(1, ["push", "demo"]);
  assert.match(pushed.stderr, /failed: reload nginx.service/);
  assert.match(pushed.stderr, /nginx did not take the new configuration/);
  assert.match(pushed.stderr, /bind\(\) to 0\.0\.0\.0:8088 failed/);
  assert.match(await page(machine, "/", 8081), /^\d+$/);
  await inside(machine, "systemctl stop taken");
  await lab.expect(0, ["push", "demo"]);
  assert.equal(await page(machine, "/", 8088), "new");
});
