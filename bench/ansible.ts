/** What Ansible takes for the same: one changed file and its handler, and thirty templates with nothing to do. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../test/temporary-repository.ts";
import type { Subject } from "./figures.ts";
import { type BenchMachine, siteText } from "./push-machine.ts";

const TEMPLATES = 30;
const TARGET = "/usr/local/opt/nginx/conf/sites.d/50-bench.nginx";

/** Subjects, or why there are none. */
export async function ansibleSubjects(bench: BenchMachine): Promise<Subject[] | string> {
  const version = spawnSync("ansible-playbook", ["--version"], { encoding: "utf8" });
  if (version.error || version.status !== 0)
    return "left out: ansible-playbook is not installed (Debian: apt-get install ansible-core, or ansible for synchronize)";
  const folder = temporaryFolder("bench-ansible");
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  mkdirSync(join(folder, "site"));
  mkdirSync(join(folder, "templates"));
  const configuration = file(
    "ansible.cfg",
    `[defaults]\ninventory = ${folder}/hosts\ninterpreter_python = /usr/bin/python3\nretry_files_enabled = False\n` +
      `[ssh_connection]\npipelining = True\nssh_args = -F ${bench.sshConfig} -o ControlMaster=auto -o ControlPersist=60s\n` +
      `control_path_dir = ${folder}/cp\n`,
  );
  file("hosts", `${bench.name} ansible_user=root\n`);
  for (let i = 0; i < TEMPLATES; i++)
    file(`templates/t${i}.j2`, `# {{ inventory_hostname }} ${i}\n${"key = value\n".repeat(20)}`);
  const play = (name: string, facts: boolean, tasks: string): string =>
    file(
      name,
      `- hosts: all\n  gather_facts: ${facts}\n  handlers:\n    - name: reload\n      command: systemctl reload nginx\n  tasks:\n${tasks}`,
    );
  const sync = `    - synchronize: {src: ${folder}/site/, dest: /usr/local/opt/nginx/conf/sites.d/, use_ssh_args: true}\n      notify: reload\n`;
  const copy = `    - copy: {src: ${folder}/site/50-bench.nginx, dest: ${TARGET}}\n      notify: reload\n`;
  const templates = `    - template: {src: "${folder}/templates/t{{ item }}.j2", dest: "/var/tmp/t{{ item }}"}\n      loop: "{{ range(${TEMPLATES}) | list }}"\n`;
  const run = (playbook: string): number => {
    const startedAt = performance.now();
    const done = spawnSync("ansible-playbook", [playbook], {
      cwd: folder,
      encoding: "utf8",
      env: { ...bench.env, ANSIBLE_CONFIG: configuration },
    });
    if (done.status !== 0) throw new Error(`${playbook}: ${done.stdout}${done.stderr}`);
    return performance.now() - startedAt;
  };
  let edits = 0;
  const changed = (playbook: string) => async (): Promise<number> => {
    // Of another length each time: rsync looks at size and second only.
    const text = `ansible ${"+".repeat(++edits)}`;
    writeFileSync(join(folder, "site/50-bench.nginx"), siteText(text));
    const startedAt = performance.now();
    run(playbook);
    await bench.untilAnswer(text);
    return performance.now() - startedAt;
  };
  const ways: (readonly [string, string])[] = [["copy", copy]];
  const modules = spawnSync("ansible-doc", ["-l"], { encoding: "utf8" }).stdout ?? "";
  if (/\bsynchronize\b/.test(modules)) ways.push(["synchronize", sync]);
  const subjects: Subject[] = ways.flatMap(([name, tasks]) => [
    {
      name: `Ansible ${name} of one file, without facts`,
      measure: changed(play(`${name}.yml`, false, tasks)),
    },
    {
      name: `Ansible ${name} of one file, with facts`,
      measure: changed(play(`${name}-facts.yml`, true, tasks)),
    },
  ]);
  const thirty = play("templates.yml", false, templates);
  run(thirty);
  subjects.push({
    name: `Ansible, ${TEMPLATES} templates with nothing to do`,
    measure: () => run(thirty),
    every: 3,
  });
  return subjects;
}
