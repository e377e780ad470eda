/** The units that this host's own systemd and packages bring are right by definition: our reader must not object. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { lintUnitText } from "../../src/units/lint/unit-text.ts";
import { isUnitName, unitType } from "../../src/units/unit-name.ts";

const FOLDERS = ["/usr/lib/systemd/system", "/usr/lib/systemd/user"];

test("no unit of a Debian package has a finding", () => {
  let count = 0;
  for (const folder of FOLDERS) {
    for (const name of readdirSync(folder)) {
      const file = join(folder, name);
      if (!isUnitName(name) || !statSync(file, { throwIfNoEntry: false })?.isFile()) continue;
      const text = readFileSync(file, "utf8");
      count++;
      assert.deepEqual(lintUnitText(file, text, unitType(name)), [], file);
      // The control: the same unit with a slip in it.
      const broken = text.replace(/^(After|Description|Type|Documentation)=/m, "Xyzzy=");
      if (broken !== text) assert.notDeepEqual(lintUnitText(file, broken, unitType(name)), [], file);
    }
  }
  assert.ok(count > 100, `${count} units`);
});
