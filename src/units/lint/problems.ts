/**
 * The wording of what the unit rules find. An error is what systemd ignores or refuses, or what can't work on the
 * machine; a warning is what works today and will surprise someone. Pure.
 */
import { type Diagnostic, type Place, problem, warning } from "../../diagnostics.ts";

/** Everything that the unit rules can find; each names one printed form. */
export type UnitFault =
  | { readonly kind: "unknown-section"; readonly section: string; readonly near: string | undefined }
  | {
      readonly kind: "unknown-key";
      readonly section: string;
      readonly key: string;
      readonly near: string | undefined;
      /** Sections that have a key of this name. */
      readonly elsewhere: readonly string[];
    }
  | {
      readonly kind: "bad-value";
      readonly key: string;
      readonly found: string;
      readonly expected: string;
      readonly near: string | undefined;
    }
  | { readonly kind: "bad-name"; readonly name: string; readonly near: string | undefined }
  | { readonly kind: "ignored-name"; readonly what: string; readonly suffix: string }
  | { readonly kind: "bad-dropin-folder"; readonly folder: string; readonly near: string | undefined }
  | { readonly kind: "sudoers-name"; readonly name: string }
  | { readonly kind: "too-deep"; readonly folder: string }
  | { readonly kind: "wrong-folder"; readonly what: string; readonly use: string }
  | { readonly kind: "wants-no-link"; readonly folder: string }
  | { readonly kind: "dangling-link"; readonly target: string; readonly near: string | undefined }
  | { readonly kind: "executable-config"; readonly what: string }
  | { readonly kind: "world-writable"; readonly what: string }
  | { readonly kind: "not-executable"; readonly what: string; readonly by?: string }
  | { readonly kind: "exec-format"; readonly path: string }
  | {
      readonly kind: "missing-file";
      readonly key: string;
      readonly path: string;
      readonly near: string | undefined;
    }
  | {
      readonly kind: "missing-trigger";
      readonly key: string;
      readonly path: string;
      readonly near: string | undefined;
    }
  | {
      readonly kind: "missing-unit";
      readonly key: string;
      readonly unit: string;
      readonly near: string | undefined;
    }
  | { readonly kind: "template-unit"; readonly key: string; readonly unit: string }
  | { readonly kind: "dropin-no-unit"; readonly unit: string; readonly near: string | undefined }
  | { readonly kind: "no-exec"; readonly unit: string }
  | { readonly kind: "many-exec"; readonly unit: string; readonly type: string }
  | { readonly kind: "no-trigger"; readonly unit: string; readonly section: string; readonly keys: string };

const meant = (near: string | undefined, otherwise: string): string =>
  near === undefined ? otherwise : `did you mean \`${near}\`?`;

/** Words one finding; `place` is in the tree. Pure. */
export function describeUnitFault(f: UnitFault, place: Place): Diagnostic {
  switch (f.kind) {
    case "unknown-section":
      return problem(
        "unit-unknown-section",
        `unknown section [${f.section}]; systemd ignores what is in it`,
        {
          place,
          help: meant(f.near, "correct the name, or put `X-` before it if systemd shall not mind it"),
        },
      );
    case "unknown-key": {
      const where = f.elsewhere.map((s) => `[${s}]`).join(" and ");
      return problem(
        "unit-unknown-key",
        `unknown key \`${f.key}\` in [${f.section}]; systemd ignores the line`,
        {
          place,
          help:
            where === ""
              ? meant(f.near, "correct the name, or remove the line")
              : `\`${f.key}\` belongs in ${where}`,
        },
      );
    }
    case "bad-value":
      return problem(
        "unit-bad-value",
        `\`${f.key}=\` does not take \`${f.found}\`; systemd ignores the line`,
        {
          place,
          notes: [`expected: ${f.expected}`],
          help: meant(f.near, "correct the value"),
        },
      );
    case "bad-name":
      return problem("unit-bad-name", `\`${f.name}\` is no unit's name; systemd never loads it`, {
        place,
        help: meant(f.near, "end the name in .service, .socket, .timer or another type of unit"),
      });
    case "ignored-name":
      return problem("ignored-name", `${f.what} does not end in \`${f.suffix}\`; it is never read`, {
        place,
        help: `add \`${f.suffix}\` to its name`,
      });
    case "bad-dropin-folder":
      return problem("unit-dropin-folder", `systemd never looks into a folder named \`${f.folder}\``, {
        place,
        help: meant(f.near, "name it after a unit and `.d`, `.wants`, `.requires` or `.upholds`"),
      });
    case "sudoers-name":
      return problem("ignored-name", `sudo ignores \`${f.name}\`: its name has a dot or ends in \`~\``, {
        place,
        help: "take the dot out of its name",
      });
    case "too-deep":
      return problem("unit-too-deep", `systemd does not look into folders below \`${f.folder}\``, {
        place,
        help: `move the file up into \`${f.folder}\``,
      });
    case "wrong-folder":
      return problem("wrong-folder", `${f.what} is never read from here`, {
        place,
        help: `move it to \`${f.use}\``,
      });
    case "wants-no-link":
      return warning("unit-wants-no-link", `\`${f.folder}\` holds links only; systemd warns about a file`, {
        place,
        help: "make it a symbolic link to the unit",
      });
    case "dangling-link":
      return problem("link-dangling", `link leads to \`${f.target}\`, which is not in the tree`, {
        place,
        help: meant(f.near, "correct the target, or remove the link"),
      });
    case "executable-config":
      return warning("mode-executable", `${f.what} is executable; systemd warns about it at each load`, {
        place,
        help: "remove the executable bit: chmod -x",
      });
    case "world-writable":
      return problem("mode-world-writable", `everyone on the machine may write ${f.what}`, {
        place,
        help: "give it a mode such as 0644 under [attributes]",
      });
    case "not-executable":
      return problem(
        "mode-not-executable",
        `${f.what} is not executable${f.by === undefined ? "; it is never run" : ""}`,
        { place, notes: f.by === undefined ? [] : [f.by], help: "set the executable bit: chmod +x" },
      );
    case "exec-format":
      return problem(
        "exec-format",
        `${f.path} begins with neither \`#!\` nor an ELF header; it can't be started`,
        {
          place,
          help: "give the script a first line such as `#!/bin/bash`",
        },
      );
    case "missing-file":
      return problem("missing-file", `\`${f.key}=\` names ${f.path}, which is not in the tree`, {
        place,
        help: meant(f.near, "correct the path, or add the file to a layer of this machine"),
      });
    case "missing-trigger":
      return warning(
        "missing-trigger",
        `\`${f.key}=\` names ${f.path}, which is not in the tree; it never acts`,
        {
          place,
          help: meant(f.near, "correct the path, or remove it"),
        },
      );
    case "missing-unit":
      return problem("missing-unit", `\`${f.key}\` names ${f.unit}, which nothing defines`, {
        place,
        help: meant(f.near, "correct the name, or add the unit to a layer of this machine"),
      });
    case "template-unit":
      return problem(
        "template-unit",
        `\`${f.key}=\` names the template ${f.unit}, which is no unit by itself`,
        {
          place,
          help: "put an instance between `@` and the dot",
        },
      );
    case "dropin-no-unit":
      return problem("dropin-no-unit", `drop-in for ${f.unit}, which nothing defines`, {
        place,
        help: meant(
          f.near,
          "correct the folder's name, or name the Debian package that brings the unit in layer.ini",
        ),
      });
    case "no-exec":
      return problem("unit-no-exec", `${f.unit} has no ExecStart=; systemd refuses to start it`, {
        place,
        help: "add ExecStart= to [Service], or make it Type=oneshot with ExecStop=",
      });
    case "many-exec":
      return problem(
        "unit-many-exec",
        `${f.unit} has several ExecStart=, which Type=${f.type} does not allow`,
        {
          place,
          help: "clear the earlier ones with an empty `ExecStart=`, or use Type=oneshot",
        },
      );
    case "no-trigger":
      return problem("unit-no-trigger", `${f.unit} has nothing to wait for; systemd refuses it`, {
        place,
        help: `add ${f.keys} to [${f.section}]`,
      });
  }
}
