/**
 * Writes a repository of the size that labctl is measured on: about 1,300 source files in 40 layers, 10 machines,
 * 150 templates, 3,300 outputs. `node --import tsx bench/repository.ts FOLDER [times]`; `times` multiplies the files.
 * Deterministic: equal arguments give equal bytes.
 */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const LAYERS = 40;
const MACHINES = 10;
const PLAIN_PER_LAYER = 28;
const TEMPLATES_PER_LAYER = 4;
/** Machine i uses every layer whose number is i modulo this, and `base`: each layer is in use by several machines. */
const LAYERS_PER_MACHINE = 10;

/** Writes it below `root`, which must not exist. */
export function writeBenchRepository(root: string, times = 1): void {
  const write = (path: string, text: string): void => {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  };
  write("lab.ini", "[lab]\nname = bench\n");
  write("layers/base/layer.ini", "[layer]\ndescription = the floor\n");
  write("layers/base/etc/base.conf.hbs", "everyone reads {{EVERYWHERE}} on {{machine.name}}\n");
  for (let l = 0; l < LAYERS; l++) {
    const layer = `layers/l${String(l).padStart(2, "0")}`;
    write(`${layer}/layer.ini`, `[layer]\ndescription = number ${l}\n[facts]\nL${l}_PORT = ${8000 + l}\n`);
    write(`${layer}/_partials/head.hbs`, "# {{machine.name}}, {{EVERYWHERE}}\n");
    for (let i = 0; i < PLAIN_PER_LAYER * times; i++) {
      const folder = ["lib/systemd/system", `etc/l${l}`, `share/l${l}/deep/er`, `libexec/l${l}`][i % 4];
      write(
        `${layer}/${folder}/l${l}-${i}.conf`,
        `# ${l} ${i}\n${`key${i} = value ${l}\n`.repeat(5 + (i % 40))}`,
      );
    }
    for (let i = 0; i < TEMPLATES_PER_LAYER * times; i++) {
      const text = `{{> head}}{{#if FLAG}}flag {{L${l}_PORT}}{{/if}}\n${`listen {{L${l}_PORT}} on {{machine.host}};\n`.repeat(10)}{{#each NETS}}net {{name}} {{mtu}}\n{{/each}}`;
      write(`${layer}/etc/l${l}/t${i}.conf.hbs`, text);
    }
    symlinkSync(`../l${l}/l${l}-1.conf`, join(root, layer, `etc/l${l}/current`));
  }
  const nets = [
    { name: "br0", mtu: 1500 },
    { name: "br1", mtu: 9000 },
  ];
  write("facts/all.json", `${JSON.stringify({ EVERYWHERE: "one", FLAG: true, NETS: nets })}\n`);
  for (let m = 0; m < MACHINES; m++) {
    const layers = Array.from({ length: LAYERS_PER_MACHINE }, (_, i) => (m + i * 4) % LAYERS);
    const names = layers.map((l) => `l${String(l).padStart(2, "0")}`).join(", ");
    write(`machines/m${m}/machine.ini`, `[machine]\nhost = m${m}.lan\nlayers = ${names}\n`);
    write(`machines/m${m}/etc/own.conf.hbs`, "{{machine.name}} {{MINE}}\n");
    write(`facts/m${m}.env`, `MINE=${m}\n`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , folder, times] = process.argv;
  if (folder === undefined) throw new Error("usage: repository.ts FOLDER [times]");
  writeBenchRepository(folder, Number(times ?? 1));
}
