/**
 * Networks on a real machine: leases by units, bridges with DHCP, SLAAC and names for guests in namespaces of their own, and
 * that stopping leaves nothing.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed, unwrap } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";
import { assertSandboxed } from "./sandbox.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** A machine with the layer pushed, and one declared network that does not run yet. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.edit("machines/demo/machine.ini", "layers = web", "layers = network");
    lab.write({
      "machines/demo/machine.ini": `${lab.read("machines/demo/machine.ini")}\n[network lan]\nipv4 = /26\nmtu = 1400\n`,
    });
    await lab.expect(0, ["facts", "probe", "demo"]);
    assert.equal((await lab.run(["ip", "plan", "--write"])).code, 0);
    await lab.expect(0, ["push", "demo"]);
    return { lab, machine };
  });
  return prepared;
}

/** Everything that a network could leave behind, once what ends has ended. */
const traces = (machine: Machine): Promise<string> =>
  inside(
    machine,
    `for i in $(seq 100); do systemctl list-jobs | grep -q '@' || break; sleep 0.1; done
     ip -o link | sed 's/^[0-9]*: //'; ip -o address | sed 's/^[0-9]*: //; s/valid_lft.*//'; ip route; ip -6 route
     nft list ruleset; ls /run/systemd/network; find /run/local -type f ! -name lock ! -name ledger.json
     resolvectl domain | sort -k2; pgrep -l dnsmasq
     systemctl list-units --state=active,failed,activating,deactivating --plain --no-legend 'ip@*' 'bridge*@*'`,
  );

const env = async (machine: Machine, network: string): Promise<Record<string, string>> =>
  Object.fromEntries(
    (await inside(machine, `cat /run/local/ip/${network}.env`))
      .trim()
      .split("\n")
      .map((line) => line.split("=")),
  );

test("a network that can't be is refused by its unit, with what is wrong, and leaves nothing", async () => {
  const { machine } = await theMachine();
  const before = await traces(machine);
  const said = await inside(
    machine,
    "systemctl start bridge@averylongnetwork && exit 1; journalctl -o cat -u ip@averylongnetwork",
  );
  assert.match(
    said,
    /error\[ip-lease\] `averylongnetwork` can't be a network: it is an interface's name, too/,
  );
  // The way to the machine itself.
  assert.match(
    await inside(machine, "systemctl start bridge@host0 && exit 1; journalctl -o cat -u bridge@host0"),
    /error\[network\] network `host0` can't have the name of a link that this machine has, and that is not this network's/,
  );
  // Another program's bridge, as docker's.
  await inside(machine, "ip link add foreign0 type bridge");
  assert.match(
    await inside(machine, "systemctl start bridge@foreign0 && exit 1; journalctl -o cat -u bridge@foreign0"),
    /error\[network\] network `foreign0` can't have the name of a link/,
  );
  await inside(machine, "ip link show foreign0 type bridge && ip link delete foreign0");
  await inside(machine, "systemctl reset-failed");
  assert.equal(await traces(machine), before);
});

test("starting a bridge brings up link, addresses, rules, DHCP and names; stopping it leaves nothing", async () => {
  const { machine, lab } = await theMachine();
  const before = await traces(machine);
  await inside(machine, "systemctl start bridge@lan");
  const lease = await env(machine, "lan");
  const shown = JSON.parse((await lab.run(["ip", "show", "--json"])).stdout);
  const planned = shown.machines.find((m: { machine: string }) => m.machine === "demo").links.at(-1);
  assert.equal(`${lease.IP4_ADDRESS}/26`, planned.ipv4[0]);
  assert.equal(lease.IP6_ADDRESS, planned.ipv6.address);
  const up = await traces(machine);
  assert.match(up, new RegExp(`lan\\s+inet ${lease.IP4_ADDRESS}/26`));
  assert.match(up, new RegExp(`lan\\s+inet6 ${lease.IP6_ADDRESS}/64`));
  assert.match(up, /^lan: .* mtu 1400/m);
  assert.match(up, /table inet network-lan/);
  await inside(machine, "/usr/local/lib/labctl/check.d/network");

  // A guest that is asked for nothing but its name.
  await inside(
    machine,
    `set -e
     ip netns add guest; ip link add g0 type veth peer name eth0 netns guest; ip link set g0 master lan up
     ip -n guest link set lo up; ip -n guest link set eth0 up
     printf '#!/bin/sh\\n[ "$1" = bound ] || exit 0\\nip address add $ip/$mask dev $interface; ip route add default via $router; echo "$dns $mtu" >/tmp/guest\\n' >/tmp/dhcp; chmod +x /tmp/dhcp
     ip netns exec guest busybox udhcpc -i eth0 -n -q -t 20 -T 1 -x hostname:web -O mtu -s /tmp/dhcp`,
  );
  assert.equal(await inside(machine, "cat /tmp/guest"), `${lease.IP4_ADDRESS} 1400\n`);
  await inside(machine, `ip netns exec guest ping -c1 -W2 ${lease.IP4_ADDRESS}`);
  // By SLAAC, from a router that says so.
  await inside(
    machine,
    `for i in $(seq 100); do ip -n guest -o -6 address show dev eth0 scope global -tentative | grep -q inet6 && break; sleep 0.1; done
     ip netns exec guest ping -c1 -W2 ${lease.IP6_ADDRESS}`,
  );
  // The guest's name, asked of the network's own DNS and through the machine's resolver.
  const [, four = ""] =
    /inet (\S+)\//.exec(await inside(machine, "ip -n guest -o -4 address show dev eth0")) ?? [];
  assert.match(
    await inside(
      machine,
      `ip netns exec guest busybox nslookup -type=a web.lan.demo.lan ${lease.IP4_ADDRESS}`,
    ),
    new RegExp(`Address.*: ${four}$`, "m"),
  );
  assert.match(await inside(machine, "resolvectl query -4 web.lan.demo.lan"), new RegExp(four));
  // Masqueraded: whoever is outside has no route back to the guest's own address.
  const out = "ip netns exec guest ping -c1 -W1 $(ip route show default | cut -d' ' -f3)";
  await inside(machine, out);
  await inside(
    machine,
    `nft delete table inet network-lan; ${out} && exit 1; systemctl reload bridge@lan && ${out}`,
  );

  // A push of another size reloads, and the guest stays where it is.
  lab.edit("machines/demo/machine.ini", "mtu = 1400", "mtu = 1300");
  const plan = await lab.expect(2, ["plan", "demo"]);
  assert.match(plan.stdout + plan.stderr, /reload bridge@lan\.service: ReloadOn=/);
  assert.doesNotMatch(plan.stdout + plan.stderr, /(restart|stop) (ip|bridge)/);
  await lab.expect(0, ["push", "demo"]);
  assert.match(await inside(machine, "ip -o link show lan"), /mtu 1300 /);
  assert.match(await inside(machine, "ip -o link show g0"), /master lan /);
  await inside(machine, `grep -q 'option:mtu,1300' /run/local/bridge/lan.dnsmasq; ${out}`);
  await inside(machine, "ip netns del guest; rm -f /tmp/guest /tmp/dhcp");

  await inside(machine, "systemctl stop bridge@lan");
  assert.equal(await traces(machine), before);
});

test("a file that dnsmasq refuses fails its unit, says why, and is started again once it is right", async () => {
  const { machine } = await theMachine();
  await inside(
    machine,
    "mkdir -p /usr/local/etc/network/odd.d; echo 'no-such-word' >/usr/local/etc/network/odd.d/x.conf",
  );
  await inside(
    machine,
    "systemctl start bridge@odd; for i in $(seq 50); do systemctl show -P NRestarts bridge-dhcp@odd | grep -q '^[1-9]' && break; sleep 0.1; done",
  );
  assert.match(
    await inside(machine, "/usr/local/lib/labctl/check.d/network; true"),
    /odd has no DHCP; see journalctl -u bridge-dhcp@odd/,
  );
  assert.match(
    await inside(machine, "journalctl -o cat -u bridge-dhcp@odd"),
    /bad option at line 1 of .*odd\.d\/x\.conf/,
  );
  await inside(
    machine,
    "rm -r /usr/local/etc/network/odd.d; systemctl reload bridge@odd; for i in $(seq 50); do systemctl is-active -q bridge-dhcp@odd && break; sleep 0.1; done; /usr/local/lib/labctl/check.d/network",
  );
  await inside(machine, "systemctl stop bridge@odd");
  assert.doesNotMatch(await traces(machine), /odd/);
});

test("undeclared networks get blocks of their own, many at once, and give them back", async () => {
  const { machine } = await theMachine();
  const before = await traces(machine);
  const names = Array.from({ length: 6 }, (_, i) => `lab${i}`);
  await inside(machine, `systemctl start ${names.map((n) => `bridge@${n}`).join(" ")}`);
  const leases = await Promise.all(names.map((name) => env(machine, name)));
  assert.equal(new Set(leases.map((l) => l.IP4_PREFIX)).size, 6);
  assert.equal(new Set(leases.map((l) => l.IP6_PREFIX)).size, 6);
  await inside(machine, "/usr/local/lib/labctl/check.d/network");
  await inside(machine, `systemctl stop ${names.map((n) => `bridge@${n}`).join(" ")}`);
  assert.equal(
    await inside(
      machine,
      "journalctl -o cat -u 'bridge@*' -u 'ip@*' --grep 'error.(network|ip-lease)' | grep -vE 'averylong|host0|foreign0' || true",
    ),
    "",
  );
  assert.equal(await traces(machine), before);
});

test("killed while it starts, it leaves nothing, and starts the next time", async () => {
  const { machine } = await theMachine();
  const before = await traces(machine);
  for (const seconds of [0.05, 0.2, 0.4, 0.8]) {
    await inside(
      machine,
      `systemctl start --no-block bridge@cut; sleep ${seconds}; systemctl kill --kill-whom=main -s KILL bridge@cut ip@cut bridge-dhcp@cut 2>/dev/null
       systemctl stop bridge@cut; systemctl reset-failed`,
    );
    assert.equal(await traces(machine), before, `killed after ${seconds} s`);
  }
  // What clears up is killed, too: then the next start and stop do.
  await inside(
    machine,
    `systemctl start --no-block bridge@cut; sleep 0.4; for i in 1 2 3 4 5; do systemctl kill -s KILL bridge@cut ip@cut bridge-dhcp@cut 2>/dev/null; sleep 0.05; done
     systemctl stop bridge@cut; systemctl reset-failed`,
  );
  await inside(
    machine,
    "systemctl start bridge@cut || { journalctl -u '*@cut' -n 60 --no-pager >&2; exit 1; }; /usr/local/lib/labctl/check.d/network; systemctl stop bridge@cut",
  );
  assert.equal(await traces(machine), before);
  // A link that networkd made when the rest was gone already.
  await inside(
    machine,
    "ip link add cut type bridge; : >/run/local/bridge/cut.env; systemctl start bridge@cut && /usr/local/lib/labctl/check.d/network && systemctl stop bridge@cut",
  );
  assert.equal(await traces(machine), before);
});

test("each mode reaches what it says: an uplink is a port and given back, routed keeps addresses, host has no link", async () => {
  const { machine, lab } = await theMachine();
  lab.write({
    "machines/demo/machine.ini": `${lab.read("machines/demo/machine.ini")}
[network flat]
mode = bridge
uplink = up0
[network own]
mode = host
[network plain]
ipv4 = /24
mode = routed
`,
  });
  assert.equal((await lab.run(["ip", "plan", "--write"])).code, 0);
  await lab.expect(0, ["push", "demo"]);
  const missing = await inside(
    machine,
    "systemctl start bridge@flat && exit 1; journalctl -o cat -u bridge@flat",
  );
  assert.match(missing, /network `flat` leads to link `up0`, which this machine does not have/);
  await inside(
    machine,
    "systemctl reset-failed; ip netns add outside; ip link add up0 type veth peer name far0 netns outside; ip -n outside address add 10.222.0.1/24 dev far0; ip -n outside link set far0 up",
  );
  const before = await traces(machine);
  await inside(
    machine,
    "systemctl start bridge@flat bridge@own bridge@plain; for i in $(seq 50); do ip -o link show up0 | grep -q 'master flat' && break; sleep 0.1; done",
  );
  const up = await traces(machine);
  assert.match(up, /^up0@\S+: .* master flat /m);
  assert.doesNotMatch(up, /^own: |bridge\/(flat|own)\.dnsmasq|network-(flat|own|plain)/m);
  assert.equal(await inside(machine, "cat /run/local/bridge/own.env"), "NETWORK_MODE=host\n");
  await inside(machine, "/usr/local/lib/labctl/check.d/network");
  // A guest on the uplink's own network, and one whose packets leave as they are.
  const guest = (name: string, network: string, address: string): string =>
    `ip netns add ${name}; ip link add v-${name} type veth peer name eth0 netns ${name}; ip link set v-${name} master ${network} up
     ip -n ${name} link set eth0 up; ip -n ${name} address add ${address} dev eth0`;
  await inside(
    machine,
    `${guest("one", "flat", "10.222.0.2/24")}; ip netns exec one ping -c1 -W2 10.222.0.1`,
  );
  const plain = await env(machine, "plain");
  await inside(
    machine,
    `${guest("two", "plain", `${plain.IP4_LAST}/24`)}; ip -n two route add default via ${plain.IP4_ADDRESS}
     ip address add 10.223.0.1/32 dev lo; ip netns exec two ping -c1 -W2 10.223.0.1; ip address del 10.223.0.1/32 dev lo
     ip netns exec two ping -c1 -W1 $(ip route show default | cut -d' ' -f3) && exit 1; true`,
  );
  await inside(
    machine,
    "ip netns del one; ip netns del two; systemctl stop bridge@flat bridge@own bridge@plain",
  );
  const after = await traces(machine);
  assert.doesNotMatch(after, /flat|bridge@own|plain/);
  assert.match(after, /^up0@/m);
  assert.match(before, /^up0@/m);
  await inside(machine, "ip netns del outside");
});

test("guests make macvlan links of their own on the uplink; a VLAN has its link with the network, or the kernel's reason", async (t) => {
  const { machine, lab } = await theMachine();
  lab.write({
    "machines/demo/machine.ini": `${lab.read("machines/demo/machine.ini")}
[network air]
mode = macvlan
uplink = up1
[network tagged]
mode = bridge
uplink = up1
vlan = 20
`,
  });
  assert.equal((await lab.run(["ip", "plan", "--write"])).code, 0);
  await lab.expect(0, ["push", "demo"]);
  await inside(
    machine,
    `ip netns add outside; ip link add up1 type veth peer name far1 netns outside; sysctl -qw net.ipv6.conf.up1.disable_ipv6=1; ip link set up1 up
     ip -n outside address add 10.223.0.1/24 dev far1; ip -n outside link set far1 up`,
  );
  const before = await traces(machine);
  await inside(
    machine,
    `set -e; systemctl start bridge@air; . /run/local/bridge/air.env; [ $NETWORK_MODE = macvlan ]
     for i in 2 3; do ip netns add m$i; ip link add link $NETWORK_UPLINK name eth0 netns m$i type macvlan mode bridge
       ip -n m$i address add 10.223.0.$i/24 dev eth0; ip -n m$i link set eth0 up; done
     ip netns exec m2 ping -c1 -W2 10.223.0.1; ip netns exec m2 ping -c1 -W2 10.223.0.3
     /usr/local/lib/labctl/check.d/network; ip netns del m2; ip netns del m3; systemctl stop bridge@air`,
  );
  assert.equal(await traces(machine), before);

  const hasVlans =
    (await inside(
      machine,
      "ip link add link up1 name up1.9 type vlan id 9 2>/dev/null && ip link delete up1.9 && echo yes || echo no",
    )) === "yes\n";
  t.diagnostic(`VLANs in this kernel: ${hasVlans}`);
  if (hasVlans)
    await inside(
      machine,
      `set -e; ip -n outside link add link far1 name far1.20 type vlan id 20; ip -n outside address add 10.224.0.1/24 dev far1.20; ip -n outside link set far1.20 up
       systemctl start bridge@tagged; for i in $(seq 50); do ip -o link show up1.20 | grep -q 'master tagged' && break; sleep 0.1; done
       ip netns add g; ip link add v-g type veth peer name eth0 netns g; ip link set v-g master tagged up
       ip -n g address add 10.224.0.2/24 dev eth0; ip -n g link set eth0 up; ip netns exec g ping -c1 -W2 10.224.0.1; ip netns del g; systemctl stop bridge@tagged`,
    );
  else
    assert.match(
      await inside(
        machine,
        "systemctl start bridge@tagged && exit 1; journalctl -o cat -u bridge@tagged; systemctl reset-failed",
      ),
      /error\[network\] network `tagged` is VLAN 20 on link `up1`, which the kernel does not make: .+; does `modprobe 8021q` help\?/,
    );
  assert.equal(await traces(machine), before);
  await inside(machine, "ip netns del outside");
});

test("a network that is an instance of the machine starts with the push, and comes back as it was after a boot", async () => {
  const { machine, lab } = await theMachine();
  lab.edit(
    "machines/demo/machine.ini",
    "layers = network",
    "layers = network\ninstances = bridge@lan.service",
  );
  const pushed = await lab.expect(0, ["push", "demo"]);
  assert.match(pushed.stderr, /start bridge@lan\.service/);
  await inside(machine, "systemctl start bridge@scratch");
  const before = [await env(machine, "lan"), await env(machine, "scratch")] as const;
  unwrap(await machine.restart());
  await inside(
    machine,
    "for i in $(seq 100); do systemctl is-active -q bridge@lan bridge-dhcp@lan && break; sleep 0.1; done; /usr/local/lib/labctl/check.d/network; systemctl start bridge@scratch",
  );
  assert.deepEqual(await env(machine, "lan"), before[0]);
  assert.equal((await env(machine, "scratch")).IP6_ADDRESS, before[1].IP6_ADDRESS);
  await inside(machine, "systemctl stop bridge@lan bridge@scratch");
  assert.doesNotMatch(await traces(machine), /lan|scratch/);
});

test("what the layer runs is sandboxed", async (t) => {
  const { machine } = await theMachine();
  await assertSandboxed(t, machine, ["ip@x", "bridge@x", "bridge-dhcp@x"]);
});
