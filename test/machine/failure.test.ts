/** Reports of services that fail on a real machine, also before there is anything that a reporter would wait for. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed, unwrap } from "./bed-fixture.ts";
import { bootMachine, inside, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

/** Fails so slowly that systemd's default limit of starts, five in ten seconds, never ends it. */
const EARLY = `[Unit]
DefaultDependencies=no
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
ExecStart=sh -c 'echo begun >>/run/early; sleep 2.2; echo it can not be; exit 3'
[Install]
WantedBy=sysinit.target
`;

let prepared: Promise<Machine> | undefined;

/** A machine with the layer `base`, and a service that fails early in its boot. */
function theMachine(): Promise<Machine> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.edit("machines/demo/machine.ini", "layers = web", "layers = base");
    lab.remove("machines/demo/opt");
    await lab.expect(0, ["push", "demo"]);
    await inside(
      machine,
      `cat >/etc/systemd/system/early.service <<'E'\n${EARLY}E\nsystemctl daemon-reload; systemctl enable -q early`,
    );
    return machine;
  });
  return prepared;
}

/** How often it was begun in this boot, once the reporter has had its say. */
async function begins(machine: Machine): Promise<number> {
  return Number(
    await inside(
      machine,
      "for i in $(seq 100); do systemctl list-jobs | grep -q failure@ || break; sleep 0.1; done; grep -c begun /run/early",
    ),
  );
}

const reports = (machine: Machine, kind: string): Promise<string> =>
  inside(
    machine,
    `journalctl --sync; journalctl -b -o cat -q LABCTL_FAILED_UNIT=early.service LABCTL_REPORT=${kind} || true`,
  );

test("a service that fails early in a boot is begun once and reported with its words, and the boot ends", async () => {
  const machine = await theMachine();
  unwrap(await machine.restart());
  assert.equal(await begins(machine), 1);
  assert.equal(await reports(machine, "full"), "early.service failed: result exit-code, exited 3\n");
  assert.match(await reports(machine, "line"), /it can not be/);
});

test("the control: a reporter that asks for sysinit.target has the service begun again and again", async () => {
  const machine = await theMachine();
  await inside(
    machine,
    `cd /etc/systemd/system; mkdir failure@.service.d early.service.d; printf '[Unit]\\nRequires=sysinit.target\\n' >failure@.service.d/usual.conf
     printf '[Unit]\\nStartLimitIntervalSec=60\\nStartLimitBurst=2\\n' >early.service.d/limit.conf`,
  );
  unwrap(await machine.restart());
  assert.equal(await begins(machine), 2);
});
