/**
 * Debian 12, the oldest that the layers are made for: one machine gets all that ship, at once, and each must do there what
 * its check asks. What each layer does in detail is tried on the newest Debian; with LABCTL_TEST_SUITE=bookworm on this one.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, layerPackages, sharedBed, unwrap } from "./bed-fixture.ts";
import { guestMachine } from "./guest-fixture.ts";
import { inside, type Lab } from "./push-fixture.ts";
import { assertSandboxed } from "./sandbox.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed(layerPackages(), "bookworm");

const LAYERS = readdirSync(join(import.meta.dirname, "../../layers")).filter((name) => name !== "base");
const SECTIONS = `[network lab]
ipv4 = /24
[guest web]
image = debian
network = lab
`;

/** A disk that no firmware boots from, which is enough for QEMU to begin. */
const DISK = Buffer.alloc(1 << 20).fill("55aa", 510, 512, "hex");
const BOX = `
[guest box]
kind = vm
image = blank
machine = q35
accelerator = tcg
`;

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** A machine with every layer that ships, and one guest, which does not run. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const made = await guestMachine(bed, SECTIONS);
    const key = readFileSync(`${bed.identityFile}.pub`, "utf8").trim();
    made.lab.edit(
      "machines/demo/machine.ini",
      "layers = nspawn",
      `layers = ${LAYERS.join(", ")}\ninstances = bridge@lab.service`,
    );
    const sha256 = createHash("sha256").update(DISK).digest("hex");
    await inside(
      made.machine,
      "truncate -s 1M /srv/blank; printf '\\125\\252' | dd of=/srv/blank bs=1 seek=510 conv=notrunc status=none",
    );
    made.lab.write({
      "machines/demo/machine.ini": `${made.lab.read("machines/demo/machine.ini")}${BOX}`,
      "machines/demo/etc/images/blank.ini": `[image]\nsource = file:///srv/blank\nsha256 = ${sha256}\nkind = disk\n`,
      "facts/demo.json": JSON.stringify({
        BASTION_USERS: { ann: [key] },
        FIREWALL_TCP: [80],
        PROXY_SITES: [{ name: "files.lan", upstream: "http://127.0.0.1:8080" }],
      }),
    });
    await made.lab.expect(0, ["push", "demo"]);
    return made;
  });
  return prepared;
}

/** Every check of every layer; fails the test unless all pass, and unless no unit failed. */
const checks = (machine: Machine): Promise<string> =>
  inside(
    machine,
    "for c in /usr/local/lib/labctl/check.d/*; do $c || { echo $c; exit 1; }; done; systemctl --failed --no-legend --plain | grep . && exit 1; ls /usr/local/lib/labctl/check.d",
  );

test("every layer that ships does its work there, at once with all others, and a second push finds nothing", async () => {
  const { lab, machine } = await theMachine();
  assert.match(await inside(machine, "systemctl --version"), /^systemd 252 /);
  assert.match(await checks(machine), /base\n.*bastion\n/s);
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
});

test("what runs is as sandboxed there as elsewhere", async (t) => {
  const { machine } = await theMachine();
  await assertSandboxed(t, machine, [
    ...["nftables", "nginx", "wireguard", "wireguard-names", "dns", "dns-rules", "dns-mdns", "dns-upstream"],
    ...["ip@x", "bridge@x", "bridge-dhcp@x", "image@x", "image-build@x", "image-gc", "guest-root@x"],
    ...["guest-net@x", "vm@x", "vm-host", "swtpm@x"],
  ]);
});

test("a guest of the newest Debian boots there, and has its name", async () => {
  const { machine } = await theMachine();
  await inside(
    machine,
    "systemctl start container@web || { journalctl -o cat -n 40 -u container@web; exit 1; }; ping -c 1 -W 2 web.lab.demo.lan",
  );
  await inside(machine, "systemctl stop container@web");
});

test("a virtual machine begins there, shut in by QEMU itself", async () => {
  const { machine } = await theMachine();
  await inside(
    machine,
    `systemctl start --no-block vm@box
     for i in $(seq 200); do grep -qs 'running 1' /run/local/vm/box/states && break; sleep 0.1; done
     grep -q '^Seccomp:.*2' "/proc/$(systemctl show -P MainPID vm@box)/status" || { journalctl -o cat -u vm@box; exit 1; }
     systemctl stop vm@box; systemctl reset-failed`,
  );
});

test("all of it is there again after a boot", async () => {
  const { machine } = await theMachine();
  unwrap(await machine.restart());
  await checks(machine);
});
