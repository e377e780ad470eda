import type { CommandRun } from "./commands.ts";
export const run: CommandRun = async () => 1;
