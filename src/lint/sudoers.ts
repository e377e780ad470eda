/** `visudo -c` for files that sudo includes. */
import { join } from "node:path";
import { problem } from "../diagnostics.ts";
import { type Check, type Job, uniqueFiles } from "./check.ts";
import { runProgram } from "./program.ts";

export const sudoers: Check = {
  name: "visudo -c",
  program: "visudo",
  plan: (trees) =>
    uniqueFiles(trees, (path) => /(^|\/)(sudoers|sudoers\.d\/[^/]+)$/.test(path)).map(
      ({ tree, path }): Job =>
        async ({ find }) => {
          const file = join(tree.folder, path);
          const said = await runProgram(find("visudo") ?? "visudo", ["-c", "-f", file]);
          if (said.status === 0) return { found: [] };
          const found = `${said.stderr}\n${said.stdout}`.split("\n").flatMap((line) => {
            const match = /^(?:>>> )?(\/.*?):([0-9]+):(?:([0-9]+):)? (.*?)(?: <<<)?$/.exec(line);
            if (match?.[1] !== file) return [];
            const place = { file: path, line: Number(match[2]) };
            const diagnostic = problem("sudoers-syntax", `sudo refuses the line: ${match[4]}`, {
              place,
              help: "correct the line; one bad line makes sudo refuse everyone",
            });
            return [{ tree, diagnostic }];
          });
          return { found };
        },
    ),
};
