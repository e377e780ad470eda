/**
 * A guest of an OCI image on a real machine: its entrypoint is the container's service, under the same template, with address
 * and name like any other's.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { EXTRA_PACKAGES, enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { guestMachine } from "./guest-fixture.ts";
import { define } from "./image-fixture.ts";
import { inside } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed(EXTRA_PACKAGES["container-oci.test.ts"]);

test("a container of an OCI image runs its entrypoint, with its environment and folder, answers by name, and goes without a trace", async () => {
  const { machine, lab } = await guestMachine(await theBed(), "[network lab]\nipv4 = /28\n");
  await inside(
    machine,
    `cd /srv; mkdir -p tree/usr/bin tree/srv/www tree/etc; cp "$(command -v busybox)" tree/usr/bin/busybox; ln -s busybox tree/usr/bin/sh; ln -s usr/bin tree/bin
     ldd tree/usr/bin/busybox 2>/dev/null | grep -o '/lib[^ ]*' | while read -r l; do mkdir -p "tree$(dirname "$l")"; cp "$l" "tree$l"; done
     printf '#!/bin/sh\\necho "$GREETING from $(busybox pwd)" >index.html\\nexec busybox httpd -f -p 80\\n' >tree/usr/bin/serve; chmod 755 tree/usr/bin/serve
     tar -C tree -cf layer.tar .; umoci init --layout oci; umoci new --image oci:web; umoci raw add-layer --image oci:web layer.tar
     umoci config --image oci:web --architecture "$(dpkg --print-architecture)" --os linux --config.entrypoint /usr/bin/serve --config.env 'GREETING=hello there' --config.workingdir /srv/www`,
  );
  const digest = await inside(machine, "skopeo inspect --raw oci:/srv/oci:web | sha256sum | cut -c1-64");
  await define(machine, "web", `[image]\nsource = oci:/srv/oci:web\nsha256 = ${digest.trim()}\n`);
  await lab.expect(0, ["guest", "start", "demo", "shop", "--image", "web", "--network", "lab"]);
  assert.equal(
    await inside(
      machine,
      "for i in $(seq 50); do curl -fsS --max-time 5 http://shop.lab.demo.lan/ && exit 0; sleep 0.1; done; exit 1",
    ),
    "hello there from /srv/www\n",
  );
  assert.match((await lab.expect(0, ["guest", "list", "demo"])).stdout, /shop/);
  await lab.expect(0, ["guest", "rm", "demo", "shop"]);
  assert.equal(
    await inside(
      machine,
      "find /var/lib/local/guests /run/local -name '*shop*'; ip -o link | grep -w vb-shop || true",
    ),
    "",
  );
});
