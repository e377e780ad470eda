/** `labctl secret …`: which part of it runs. Values are read, decrypted and written by the parts, and printed by `show` alone. */
import { findRoot } from "../../project/find-root.ts";
import { describe } from "../../secrets/problems.ts";
import { isSecretName } from "../../secrets/secret-store.ts";
import type { CommandRun } from "../commands.ts";
import { refuseUsage } from "../help.ts";
import { refuse } from "../print.ts";

const WITH_NAME: readonly string[] = ["add", "edit", "rotate", "show", "readers"];
const ALONE: readonly string[] = ["init", "list", "rekey"];
const GENERATES: readonly string[] = ["add", "rotate"];
const REPORTS: readonly string[] = ["list", "readers"];

export const run: CommandRun = async (args) => {
  const [verb = "", name, ...more] = args.positionals;
  if (!WITH_NAME.includes(verb) && !ALONE.includes(verb))
    return refuseUsage(`\`secret\` knows ${[...ALONE, ...WITH_NAME].join(", ")}, not \`${verb}\``, "secret");
  if (WITH_NAME.includes(verb) && name === undefined)
    return refuseUsage(`\`secret ${verb}\` wants the name of a secret`, "secret");
  if (more.length > 0 || (ALONE.includes(verb) && name !== undefined))
    return refuseUsage(`\`secret ${verb}\` takes nothing after it`, "secret");
  if (args.flag("generate") && !GENERATES.includes(verb))
    return refuseUsage(`\`secret ${verb}\` takes no --generate`, "secret");
  if (args.flag("json") && !REPORTS.includes(verb))
    return refuseUsage(`\`secret ${verb}\` takes no --json`, "secret");
  const root = findRoot(args.value("directory") ?? ".");
  if (!root.ok) return refuse(root.problems);
  if (name !== undefined && !isSecretName(name)) return refuse([describe({ kind: "bad-secret-name", name })]);
  if (verb === "readers") {
    const { showReaders } = await import("./readers.ts");
    return showReaders(args, root.value, name ?? "");
  }
  if (verb === "list" || verb === "show") {
    const { listAll, showValue } = await import("./look.ts");
    return verb === "list" ? listAll(args, root.value) : showValue(root.value, name ?? "");
  }
  if (verb === "init" || verb === "rekey") {
    const { initKeys, rekeyAll } = await import("./keys.ts");
    return verb === "init" ? initKeys(args, root.value) : rekeyAll(args, root.value);
  }
  const { changeValue } = await import("./value.ts");
  return changeValue(args, root.value, verb as "add" | "edit" | "rotate", name ?? "");
};
