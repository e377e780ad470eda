/**
 * Images on a real machine, fetched: from a real server, good or bad, once, and taken up again after every kind of end.
 * Must not know how the machine came to be, nor what other tests left on it.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { seededRandom } from "../seeded-random.ts";
import { answers, begin, define, digest, killed, refused, STORE, started, variant } from "./image-fixture.ts";
import { inside } from "./push-fixture.ts";

const KILLS = Number(process.env.LABCTL_KILLS ?? 4);

/** Registers its tests, all on the one machine that `theMachine` answers. */
export function testFetching(theMachine: () => Promise<Machine>): void {
  test("an image without a definition, or with a wrong one, is refused with what to write instead", async () => {
    const machine = await theMachine();
    await define(machine, "debian", "[image]\nsuorce = http://127.0.0.1:8000/good/tree.tar.zst\n");
    assert.match(
      await refused(machine, "debain"),
      /error\[image-undefined\] no file defines image `debain`\n {2}looked for: \/usr\/local\/etc\/images\/debain\.ini\n {2}looked for: \S+\n {2}help: did you mean `debian`\?/,
    );
    assert.match(
      await refused(machine, "debian"),
      /error\[ini-unknown\] \/usr\/local\/etc\/images\/debian\.ini:2:1: unknown setting `suorce` in \[image\]\n {2}help: did you mean `source`\?/,
    );
    await define(machine, "debian", "[image]\nsource = http://127.0.0.1:8000/good/tree.tar.zst\n");
    assert.match(await refused(machine, "debian"), /error\[image-proof-missing\]/);
    assert.deepEqual(await answers(machine), []);
  });

  test("a tree is fetched by http through a redirect, unpacked to a read-only subvolume with all that belongs to its files, and fetched once", async () => {
    const machine = await theMachine();
    await answers(machine);
    const sha256 = await digest(machine, "/srv/images/tree.tar.zst");
    const ini = `[image]\nsource = http://127.0.0.1:8000/moved/tree.tar.zst\nsha256 = ${sha256}\n`;
    await define(machine, "debian", ini);
    const env = await started(machine, "debian");
    assert.deepEqual(env, {
      IMAGE_NAME: "debian",
      IMAGE_KIND: "tree",
      IMAGE_PATH: `${STORE}/trees/${sha256}`,
      IMAGE_SHA256: sha256,
      IMAGE_ARCH: process.arch === "arm64" ? "arm64" : "amd64",
      IMAGE_FORMAT: "",
      IMAGE_KERNEL: "",
      IMAGE_INITRD: "",
      IMAGE_COMMAND: "",
    });
    const looks =
      "find . -path './dev/*' -prune -o -printf '%p %y %m %U:%G %l %s\\n' | grep -v '^\\. \\|d .* ' | sort; getcap -r .";
    assert.equal(
      await inside(machine, `cd ${env.IMAGE_PATH}; ${looks}`),
      await inside(machine, `cd /srv/tree; ${looks}`),
    );
    await inside(
      machine,
      `btrfs property get -ts ${env.IMAGE_PATH} ro | grep -q ro=true; touch ${env.IMAGE_PATH}/x 2>/dev/null && exit 1; ls -A ${env.IMAGE_PATH}/dev | grep . && exit 1; true`,
    );
    // Compressed in the store, as it came.
    assert.equal(await digest(machine, `${STORE}/store/${sha256}`), sha256);
    assert.deepEqual(await answers(machine), [
      "moved tree.tar.zst all 302 0",
      `good tree.tar.zst all 200 ${(await inside(machine, "stat -c %s /srv/images/tree.tar.zst")).trim()}`,
    ]);
    const inode = await inside(machine, `stat -c '%i %Z' ${env.IMAGE_PATH}/etc/file`);
    await started(machine, "debian");
    await define(machine, "other", ini.replace("moved", "gone"));
    assert.equal((await started(machine, "other")).IMAGE_PATH, env.IMAGE_PATH);
    assert.equal(await inside(machine, `stat -c '%i %Z' ${env.IMAGE_PATH}/etc/file`), inode);
    assert.deepEqual(await answers(machine), []);
  });

  test("what was fetched before a kill is not fetched again; without ranges, or of another version, all of it is", async () => {
    const machine = await theMachine();
    const sha256 = await variant(machine, "resumed");
    await define(
      machine,
      "resumed",
      `[image]\nsource = http://127.0.0.1:8000/slow/resumed\nsha256 = ${sha256}\n`,
    );
    await answers(machine);
    await begin(machine, "resumed");
    const status = await inside(
      machine,
      "sleep 1.5; systemctl show -P StatusText image@resumed; systemctl status image@resumed || true",
    );
    assert.match(status, /^resumed: fetched \d+ \w+ of \d+ MB \(\d+ %\), .*\/s$/m);
    await killed(machine, "resumed");
    const have = Number(await inside(machine, `stat -c %s ${STORE}/partial/${sha256}`));
    await inside(machine, "sed -i s/slow/good/ /usr/local/etc/images/resumed.ini");
    await started(machine, "resumed");
    const whole = Number(await inside(machine, "stat -c %s /srv/images/resumed"));
    assert.deepEqual(await answers(machine), [
      `slow resumed all 200 ${whole}`,
      `good resumed bytes=${have}- 206 ${whole - have}`,
    ]);

    // Lost connections, with something each time, are taken up as long as it takes.
    const cut = await variant(machine, "cut");
    await define(machine, "cut", `[image]\nsource = http://127.0.0.1:8000/cut/cut\nsha256 = ${cut}\n`);
    await started(machine, "cut");
    const ranges = (await answers(machine)).map((line) => line.split(" ")[2]);
    assert.deepEqual(ranges.slice(0, 3), ["all", "bytes=900000-", "bytes=1800000-"]);

    // A server that knows no ranges, and one that has another file by now.
    for (const [name, manner] of [
      ["plain", "plain"],
      ["changed", "good"],
    ] as const) {
      const first = await variant(machine, name);
      await define(
        machine,
        name,
        `[image]\nsource = http://127.0.0.1:8000/slow/${name}\nsha256 = ${first}\n`,
      );
      await begin(machine, name);
      await killed(machine, name);
      if (name === "changed") {
        await variant(machine, "changed-again");
        await inside(machine, "cd /srv/images; cp changed kept; cp changed-again changed");
      }
      await inside(machine, `sed -i s/slow/${manner}/ /usr/local/etc/images/${name}.ini`);
      await answers(machine);
      if (name === "changed") {
        assert.match(await refused(machine, name), /error\[image-digest\]/);
        await inside(machine, "cp /srv/images/kept /srv/images/changed");
      }
      await started(machine, name);
      assert.match(
        (await answers(machine)).at(-1) ?? "",
        new RegExp(`^${manner} ${name} (all|bytes=\\d+-) 200 `),
      );
    }
  });

  test("images that are asked for at once, by several names, are fetched and unpacked once", async () => {
    const machine = await theMachine();
    const sha256 = await variant(machine, "shared");
    for (const name of ["one", "two", "three"])
      await define(
        machine,
        name,
        `[image]\nsource = http://127.0.0.1:8000/slow/shared\nsha256 = ${sha256}\n`,
      );
    await answers(machine);
    await inside(machine, "systemctl start image@one image@two image@three");
    assert.equal((await answers(machine)).length, 1);
    const said = await inside(machine, "journalctl -o cat -u image@one -u image@two -u image@three");
    assert.equal(said.match(/: unpacked in/g)?.length, 1);
    assert.match(said, /another start prepares the same image; waiting/);
    assert.equal(await inside(machine, `sort -u ${STORE}/{one,two,three}.env | grep -c IMAGE_PATH`), "1\n");
  });

  test("killed at any instant, the next start finishes, with a whole tree and nothing left over", async () => {
    const machine = await theMachine();
    const sha256 = await variant(machine, "cutshort");
    await define(
      machine,
      "cutshort",
      `[image]\nsource = http://127.0.0.1:8000/good/cutshort\nsha256 = ${sha256}\n`,
    );
    const list = (folder: string): Promise<string> =>
      inside(machine, `cd ${folder}; find . -path './dev/*' -prune -o -type f -exec sha256sum {} + | sort`);
    const whole = await list("/srv/tree");
    const random = seededRandom(6);
    let unfinished = 0;
    for (let i = 0; i < KILLS; i++) {
      const ms = random.below(900);
      await inside(
        machine,
        `btrfs property set -ts ${STORE}/trees/${sha256} ro false 2>/dev/null; btrfs -q subvolume delete ${STORE}/trees/${sha256} 2>/dev/null; systemctl stop image@cutshort; rm -rf ${STORE}/cutshort.env ${STORE}/store/${sha256} ${STORE}/extras/${sha256}
         systemctl start --no-block image@cutshort; sleep ${ms / 1000}; systemctl kill -s KILL image@cutshort 2>/dev/null
         for i in $(seq 100); do case $(systemctl is-active image@cutshort) in activating | deactivating) sleep 0.05 ;; *) break ;; esac; done; systemctl reset-failed image@cutshort 2>/dev/null; true`,
      );
      if ((await inside(machine, `ls ${STORE} | grep -c cutshort.env || true`)).trim() === "0")
        unfinished += 1;
      const env = await started(machine, "cutshort");
      assert.equal(await list(env.IMAGE_PATH ?? ""), whole, `killed after ${ms} ms`);
      assert.equal(
        await inside(machine, `ls ${STORE}/partial; ls ${STORE}/trees | grep -E 'draft|gone' || true`),
        "",
      );
    }
    assert.ok(unfinished > 0, "no start was cut short");
  });
}
