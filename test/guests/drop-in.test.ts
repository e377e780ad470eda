/** The drop-ins of a guest, as systemd shall read them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  guestDropIn,
  guestNetDropIn,
  guestRootDropIn,
  guestRootUnit,
  guestUnit,
} from "../../src/guests/drop-in.ts";
import type { Guest } from "../../src/guests/guest.ts";
import { parseGuest } from "../../src/guests/parse-guest.ts";

function guest(part: object): Guest {
  const read = parseGuest(JSON.stringify({ name: "web", kind: "container", image: "debian", ...part }));
  assert.ok(read.ok);
  return read.value;
}

test("a guest waits for its image, its root and its network, and has its limits", () => {
  const web = guest({
    network: "lab",
    stopSeconds: 7,
    resources: { cpu: "200%", memory: "512M", tasks: 99, io: 50, disk: "8G" },
  });
  assert.equal(guestUnit(web), "container@web.service");
  assert.equal(guestRootUnit(web), "guest-root@web.service");
  assert.equal(
    guestDropIn(web, "nat", ["/usr/local/lib/labctl/guests/web"]),
    `# Follows from the definition of guest \`web\`; edits are lost.
[Unit]
Requires=image@debian.service guest-root@web.service guest-net@web.service bridge@lab.service
After=image@debian.service guest-root@web.service guest-net@web.service bridge@lab.service bridge-dhcp@lab.service

[Service]
CPUQuota=200%
MemoryMax=512M
TasksMax=99
IOWeight=50
TimeoutStartSec=30s
TimeoutStopSec=7s

[X-Labctl]
RestartOn=/usr/local/lib/labctl/guests/web
`,
  );
  assert.equal(
    guestRootDropIn(web),
    `# Follows from the definition of guest \`web\`; edits are lost.
[Unit]
Requires=image@debian.service
After=image@debian.service

[Service]
Environment=GUEST_KIND=container GUEST_IMAGE=debian GUEST_DISK=8G
`,
  );
});

test("addresses are taken from a block that the machine has, if it gives any", () => {
  assert.equal(
    guestNetDropIn(guest({ network: "lab" }), "routed"),
    `# Follows from the definition of guest \`web\`; edits are lost.
[Unit]
Requires=ip@lab.service
After=ip@lab.service
`,
  );
  assert.match(
    guestNetDropIn(guest({ network: "lab" }), "nat", ["/usr/local/etc/guests/start/web.json"]),
    /\n\n\[X-Labctl\]\nRestartOn=\/usr\/local\/etc\/guests\/start\/web\.json\nOnChange=restart\n$/,
  );
  for (const text of [guestNetDropIn(guest({})), guestNetDropIn(guest({ network: "lab" }), "bridge")])
    assert.doesNotMatch(text, /ip@/);
});

test("a guest without network, or on the machine's own, waits for no bridge", () => {
  for (const text of [guestDropIn(guest({})), guestDropIn(guest({ network: "lab" }), "host")]) {
    assert.doesNotMatch(text, /bridge@/);
    assert.doesNotMatch(text, /X-Labctl|MemoryMax/);
  }
  assert.match(guestDropIn(guest({ network: "lab" })), /bridge@lab\.service/);
});
