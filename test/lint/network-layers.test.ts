/**
 * The layers of a machine's network, all together on two machines that know each other: nothing is found, by any check. In
 * its own repository, since the examples of this one have no networks.
 */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Finding } from "../../src/lint/verify.ts";
import { PACKAGE_ROOT, scenario } from "../scenario.ts";

const LAYERS = ["network", "firewall", "dns", "wireguard", "bastion"];
const NETWORKS = `[network lab]
ipv4 = /24
[network routed]
ipv4 = /28
mode = routed
mtu = 1400
[network flat]
mode = bridge
uplink = enp1s0
vlan = 20
`;
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJvUvXgQeJzR6pQbXf0m5yq7mJcKpJxkq0Kk0m2Z9a1B ann";

/** What differs from the defaults, so that each branch of each template is rendered. */
const FACTS = {
  FIREWALL_SSH_FROM: ["192.0.2.0/24", "2001:db8::/32"],
  FIREWALL_TCP: [8080],
  FIREWALL_UDP: [5000],
  FIREWALL_CONFINED: ["routed"],
  FIREWALL_FLOWS: [
    { from: "outside", to: "lab", ports: ["tcp/80"] },
    { from: "lab", to: "routed" },
  ],
  DNS_UPSTREAM: ["9.9.9.9"],
  DNS_NAMES: { printer: ["192.0.2.9", "2001:db8::9"] },
  DNS_ZONES: { "corp.example": ["192.0.2.53"] },
  DNS_CLIENTS: ["192.0.2.0/24", "2001:db8::/32"],
  DNS_REDIRECT_EXCEPT: ["routed"],
  DNS_MDNS: ["enp1s0"],
  WIREGUARD_CLIENTS: { phone: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
  WIREGUARD_NETWORKS: ["lab"],
  BASTION_USERS: { ann: [KEY] },
};

const probed = (n: number): string =>
  JSON.stringify({
    probedAt: "2026-11-21T00:00:00Z",
    facts: {
      HOST_MACHINE_ID: String(n).padStart(32, "a"),
      HOST_LINKS: [{ name: "enp1s0", kind: "physical", addresses: [`192.0.2.${n}/24`, `2001:db8::${n}/64`] }],
      HOST_ROUTES: ["default via 192.0.2.254 dev enp1s0"],
      HOST_WIREGUARD_KEY: `${"B".repeat(41)}${n}w=`,
    },
  });

for (const [what, facts] of [
  ["as they come", {}],
  ["with each of their facts set", FACTS],
] as const)
  test(`the layers of a network have no findings together, ${what}`, (t) => {
    const machine = (host: string): string =>
      `[machine]\nhost = ${host}\nlayers = ${LAYERS.join(", ")}\ninstances = bridge@lab.service\n${NETWORKS}`;
    const s = scenario({
      "machines/den/machine.ini": machine("den.example"),
      "machines/attic/machine.ini": machine("attic.example"),
      "facts/probed/den.json": probed(1),
      "facts/probed/attic.json": probed(2),
      "facts/all.json": JSON.stringify(facts),
    });
    t.after(() => s.end());
    for (const layer of ["base", ...LAYERS])
      cpSync(join(PACKAGE_ROOT, "layers", layer), join(s.root, "layers", layer), {
        recursive: true,
        verbatimSymlinks: true,
      });
    const planned = s.run(["ip", "plan", "--write"]);
    assert.equal(planned.code, 0, planned.stderr);
    const verified = s.run(["verify", "--json"]);
    const report = JSON.parse(verified.stdout) as {
      readonly findings: readonly Finding[];
      readonly skipped: readonly unknown[];
    };
    assert.deepEqual(report.findings, []);
    assert.deepEqual(report.skipped, []);
    assert.equal(verified.code, 0);
  });
