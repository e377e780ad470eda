/**
 * The firewall over a boot of a real machine: rules before the network, no packet in between, and rules that do not load
 * leave nothing open. Packets come from outside, the tests' own namespace, all the while.
 */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed, unwrap } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

/** Listens before there is a network, and writes down that something came in. */
const EARLY = `[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service
Before=network-pre.target
Wants=network-pre.target
[Service]
ExecStart=node -e 'const s = require("dgram").createSocket("udp6"); s.on("message", () => require("fs").writeFileSync("/run/came-in", "yes")); s.bind(9001)'
[Install]
WantedBy=sysinit.target
`;
const KEPT = "/var/lib/local/firewall/rules.nft";
const BAD = "/usr/local/etc/nftables.d/99-bad.nft";

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.edit("machines/demo/machine.ini", "layers = web", "layers = web, firewall");
    await lab.expect(0, ["push", "demo"]);
    await inside(
      machine,
      `cat >/etc/systemd/system/early.service <<'E'\n${EARLY}E\nsystemctl daemon-reload; systemctl enable -q early`,
    );
    return { lab, machine };
  });
  return prepared;
}

/** Boots while packets come; answers whether one reached the listener. */
async function bootUnderFire(machine: Machine): Promise<boolean> {
  const socket = createSocket("udp4");
  socket.on("error", () => {});
  const fire = setInterval(() => {
    for (let i = 0; i < 5; i++) socket.send("x", 9001, machine.address, () => {});
  }, 2);
  unwrap(await machine.restart());
  await inside(
    machine,
    'for i in $(seq 100); do grep -qi ":$(printf %04X 9001) " /proc/net/udp6 && break; sleep 0.1; done; sleep 0.5',
  );
  clearInterval(fire);
  socket.close();
  return (await inside(machine, "cat /run/came-in 2>/dev/null || true")) === "yes";
}

/** What a new connection from outside finds. */
const opens = (machine: Machine, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    import("node:net").then(({ connect }) => {
      const socket = connect({ port, host: machine.address, timeout: 1500 });
      const end = (answer: boolean) => () => {
        socket.destroy();
        resolve(answer);
      };
      socket.on("connect", end(true)).on("error", end(false)).on("timeout", end(false));
    });
  });

const journal = (machine: Machine): Promise<string> =>
  inside(machine, "journalctl -b -o cat -u nftables.service");

test("after a boot the rules are there before the network, and no packet came in; without them packets do", async () => {
  const { machine } = await theMachine();
  assert.equal(await bootUnderFire(machine), false);
  const [rules = 0, network = 0] = (
    await inside(
      machine,
      "systemctl show -P ActiveEnterTimestampMonotonic nftables; systemctl show -P InactiveExitTimestampMonotonic systemd-networkd; /usr/local/lib/labctl/check.d/firewall",
    )
  )
    .trim()
    .split("\n")
    .map(Number);
  assert.ok(rules > 0 && rules < network, `rules after ${rules} µs, network after ${network} µs`);
  await inside(machine, "systemctl mask -q nftables");
  assert.equal(await bootUnderFire(machine), true);
  await inside(machine, "systemctl unmask -q nftables; systemctl start nftables");
});

test("rules that do not load at a boot: those that loaded last serve, and the unit fails and says so", async () => {
  const { machine } = await theMachine();
  await inside(machine, `echo 'iif "not-there" accept' >${BAD}`);
  assert.equal(await bootUnderFire(machine), false);
  assert.deepEqual([await opens(machine, 22), await opens(machine, 80)], [true, true]);
  assert.match(await inside(machine, "systemctl is-active nftables; true"), /failed/);
  assert.match(await journal(machine), new RegExp(`do not load; ${KEPT} serves until they do`));
  assert.match(
    await inside(machine, "/usr/local/lib/labctl/check.d/firewall; true"),
    /nftables\.service is failed/,
  );
});

test("without kept rules SSH alone is open; the tree's are loaded again once they are right", async () => {
  const { machine } = await theMachine();
  await inside(machine, `rm ${KEPT}`);
  assert.equal(await bootUnderFire(machine), false);
  assert.deepEqual([await opens(machine, 22), await opens(machine, 80)], [true, false]);
  assert.match(
    await journal(machine),
    /do not load; \/usr\/local\/etc\/firewall\/rescue\.nft serves until they do/,
  );
  // The control: with neither, the machine is open, which is what a boot without this would be.
  await inside(machine, "mv /usr/local/etc/firewall/rescue.nft /root/");
  assert.equal(await bootUnderFire(machine), true);
  assert.match(await journal(machine), /the machine is open/);
  await inside(
    machine,
    `mv /root/rescue.nft /usr/local/etc/firewall/; rm ${BAD}; systemctl restart nftables; /usr/local/lib/labctl/check.d/firewall; grep -q 'policy drop' ${KEPT}`,
  );
  assert.deepEqual([await opens(machine, 22), await opens(machine, 80)], [true, true]);
});
