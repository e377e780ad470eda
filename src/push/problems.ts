/** What can go wrong between a build and a machine that runs it, and how each is worded. Pure. */
import type { Diagnostic } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { TREE_ROOT } from "../paths.ts";
import { describeDamage, wordBroken } from "./safety-problems.ts";

export type PushProblem =
  | {
      readonly kind: "no-answer";
      readonly machine: string;
      readonly label: string;
      readonly verb: string;
      readonly status: number | null;
      readonly stderr: string;
      readonly stdout: string;
    }
  | { readonly kind: "sudo-password"; readonly machine: string; readonly label: string }
  | { readonly kind: "bad-probe"; readonly machine: string; readonly label: string }
  | { readonly kind: "not-writable"; readonly machine: string; readonly label: string; readonly why: string }
  | { readonly kind: "rsync-missing"; readonly machine: string; readonly label: string }
  | { readonly kind: "no-systemd"; readonly machine: string; readonly label: string }
  | {
      readonly kind: "undo-waits";
      readonly machine: string;
      readonly number: number;
      readonly secondsLeft: number;
    }
  | {
      readonly kind: "remote";
      readonly machine: string;
      readonly verb: string;
      readonly done: string;
      readonly code: string;
      readonly detail: string;
      readonly more: readonly string[];
    }
  /** A file of the built tree is no longer what its manifest says. */
  | { readonly kind: "tree-changed"; readonly machine: string; readonly path: string }
  | {
      readonly kind: "interrupted";
      readonly machine: string;
      /** Undefined: before the commit. */
      readonly commit?: {
        readonly number: number;
        /** 0: the machine asks for no confirmation. */
        readonly seconds: number;
        /** How far the machine is known to have come; `sent`: it may not have begun. */
        readonly state: "sent" | "begun" | "committed";
      };
    }
  | {
      readonly kind: "no-generation";
      readonly machine: string;
      readonly wanted: number | undefined;
      readonly kept: readonly number[];
      readonly current: number;
    }
  | { readonly kind: "foreign-files"; readonly machine: string; readonly paths: readonly string[] }
  | {
      readonly kind: "other-machine";
      readonly machine: string;
      readonly label: string;
      readonly other: string;
    }
  | { readonly kind: "never-pushed"; readonly machine: string }
  | { readonly kind: "damaged"; readonly machine: string; readonly what: readonly string[] };

/** More files than this are counted, not listed. */
const FOREIGN_SHOWN = 20;

/** What the machine is left with, by the remote program's last word. */
const LEFT: Readonly<Record<string, string>> = {
  "failed-unchanged": "nothing on the machine changed",
  "failed-reverted": "everything was taken back: the machine runs what it ran before",
  "failed-half": "the machine is between two generations; its next contact or boot settles it",
  "failed-pending": "the files are in place; some unit actions are still to be done, the next push does them",
  reverted: "the previous generation is back",
};

/** Words a problem. Pure. */
export function describe(p: PushProblem): Diagnostic {
  switch (p.kind) {
    case "no-answer":
      return describeNoAnswer(p);
    case "sudo-password":
      return problem("sudo-password", `sudo on machine \`${p.machine}\` (${p.label}) took no password`, {
        notes: ["nothing on the machine changed"],
        help: "run the same command again with the password of the user that is logged in, or log in as root ([ssh] user in machine.ini)",
      });
    case "bad-probe":
      return problem(
        "bad-answer",
        `machine \`${p.machine}\` (${p.label}) gave an answer that makes no sense`,
        {
          notes: ["nothing on the machine changed"],
          help: `log in by \`ssh ${p.label}\` and see what its shell prints at the start`,
        },
      );
    case "not-writable":
      return problem(
        "not-writable",
        `${TREE_ROOT} on machine \`${p.machine}\` (${p.label}) is not writable: ${p.why}`,
        {
          notes: ["nothing on the machine changed"],
          help: p.why.startsWith("read-only")
            ? `remount it: \`mount -o remount,rw ${TREE_ROOT}\``
            : "log in as root, or give the user passwordless sudo",
        },
      );
    case "rsync-missing":
      return problem("rsync-missing", `machine \`${p.machine}\` (${p.label}) has no rsync`, {
        notes: ["nothing on the machine changed"],
        help: `install it there: \`apt-get install rsync\``,
      });
    case "no-systemd":
      return problem("no-systemd", `machine \`${p.machine}\` (${p.label}) does not run systemd`, {
        notes: ["nothing on the machine changed"],
        help: "labctl needs systemd as the machine's init",
      });
    case "undo-waits":
      return problem(
        "undo-waits",
        `generation ${p.number} of machine \`${p.machine}\` was never confirmed, and is taken back in ${p.secondsLeft} s`,
        {
          notes: [
            "an earlier push was broken off, or could not reach the machine by a fresh connection",
            "nothing on the machine changed",
          ],
          help: `wait ${p.secondsLeft} s and push again`,
        },
      );
    case "remote":
      return describeRemote(p);
    case "interrupted":
      return describeInterrupted(p);
    case "tree-changed":
      return problem("tree-changed", `\`${p.path}\` changed since it was built`, {
        notes: [`it is a file of the tree of machine \`${p.machine}\``, "nothing on the machine changed"],
        help: "push again: it builds first; edit layers, never what is built from them",
      });
    case "no-generation":
      return problem(
        "no-generation",
        p.wanted === undefined
          ? `machine \`${p.machine}\` has no generation before ${p.current}`
          : `machine \`${p.machine}\` can't go to generation ${p.wanted}`,
        {
          notes: [
            p.kept.length === 0
              ? "it keeps none"
              : `it can go to: ${p.kept.join(", ")}; it is at ${p.current}`,
          ],
          help: `\`labctl generations ${p.machine}\` lists them`,
        },
      );
    case "foreign-files": {
      const shown = p.paths.slice(0, FOREIGN_SHOWN).map((path) => `${TREE_ROOT}/${path}`);
      const more = p.paths.length - shown.length;
      return problem(
        "foreign-file",
        `machine \`${p.machine}\` has ${p.paths.length === 1 ? "a file" : `${p.paths.length} files`} in the way that labctl did not make`,
        {
          notes: [...shown, ...(more > 0 ? [`and ${more} more`] : []), "nothing on the machine changed"],
          help: "move them away on the machine, rename the files in the layers, or push with --take-over to replace them",
        },
      );
    }
    case "other-machine":
      return problem(
        "other-machine",
        `${p.label} carries the tree of machine \`${p.other}\`, not of \`${p.machine}\``,
        {
          notes: ["nothing on the machine changed"],
          help: `correct \`host\` in machines/${p.machine}/machine.ini; if the machine was renamed, push once with --take-over`,
        },
      );
    case "damaged":
      return problem("damaged-state", `labctl's own files on machine \`${p.machine}\` are damaged`, {
        notes: [
          ...p.what.map(
            (line) => `${TREE_ROOT}/.labctl/${line.replace(/^folder /, ": ").replace(" ", ": ")}`,
          ),
          "nothing on the machine changed",
        ],
        help: p.what.some((line) => line.startsWith("folder "))
          ? `see who made ${TREE_ROOT}/.labctl what it is, move it away, and push with --take-over`
          : "push with --take-over: it puts the whole tree again, forgets the generations kept there, and leaves what is not labctl's",
      });
    case "never-pushed":
      return problem("never-pushed", `nothing was ever pushed to machine \`${p.machine}\``, {
        help: `\`labctl push ${p.machine}\``,
      });
  }
}

function describeInterrupted({ machine, commit }: Extract<PushProblem, { kind: "interrupted" }>): Diagnostic {
  if (!commit)
    return problem("interrupted", `stopped before anything on machine \`${machine}\` changed`, {
      help: "run the same command again",
    });
  const { number, seconds, state } = commit;
  const look = `\`labctl generations ${machine}\` tells what it runs`;
  if (state === "committed")
    return problem(
      "interrupted",
      `stopped before generation ${number} of machine \`${machine}\` was confirmed`,
      {
        notes: [`it is in place; the machine itself takes it back within ${seconds} s, tree and units`],
        help: `push again after ${seconds} s; ${look}`,
      },
    );
  return problem("interrupted", `stopped while machine \`${machine}\` was committing generation ${number}`, {
    notes: [
      ...(state === "sent" ? ["it may not have begun: then nothing changes"] : []),
      seconds > 0
        ? `the machine ends the commit by itself, and takes it back ${seconds} s later, tree and units`
        : "the machine ends the commit by itself; then the generation stays",
    ],
    help: seconds > 0 ? `push again after that; ${look}` : look,
  });
}

function describeNoAnswer(p: Extract<PushProblem, { kind: "no-answer" }>): Diagnostic {
  const said = p.stderr
    .trim()
    .split("\n")
    .slice(-3)
    .filter((l) => l !== "");
  if (/^sudo:/m.test(p.stderr)) {
    return problem(
      "sudo",
      `sudo on machine \`${p.machine}\` (${p.label}) does not let the user run commands`,
      {
        notes: [...said, "nothing on the machine changed"],
        help: "run labctl on a terminal to be asked for the password, let the user run sudo without one, or log in as root ([ssh] user in machine.ini)",
      },
    );
  }
  if (p.status === 127) {
    return problem("bash-missing", `machine \`${p.machine}\` (${p.label}) has no bash`, {
      notes: [...said, "nothing on the machine changed"],
      help: "install it there: `apt-get install bash`",
    });
  }
  return problem(
    "bad-answer",
    `machine \`${p.machine}\` (${p.label}) broke off during \`${p.verb}\`, exit status ${p.status ?? "none"}`,
    {
      notes: [
        ...(said.length > 0
          ? said
          : p.stdout.trim() === ""
            ? ["it said nothing"]
            : [`it said: ${p.stdout.trim().slice(0, 200)}`]),
        p.verb === "commit"
          ? "the machine's next contact or boot settles on the old or the new generation"
          : "nothing on the machine changed",
      ],
      help: "run the command again; if it breaks off again, log in and look at the machine",
    },
  );
}

/** `user@host PID SECONDS`, as the lock file has it, for people; any other text as it is. Pure. */
export function lockHolder(text: string): string {
  const [, who, pid, seconds] = /^(\S+) (\d{1,10}) (\d{1,11})$/.exec(text) ?? [];
  if (seconds === undefined) return text;
  return `${who} since ${utc(Number(seconds))}, as process ${pid} of the machine`;
}

/** `2026-01-31 12:00:00 UTC`. Pure. */
export function utc(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Wording for each of the remote program's problem codes; the detail is the machine's and untrusted. */
function describeRemote(p: Extract<PushProblem, { kind: "remote" }>): Diagnostic {
  const on = `on machine \`${p.machine}\``;
  const word = (message: string, help?: string): Diagnostic =>
    problem(p.code, message, { notes: [...p.more, ...(LEFT[p.done] ? [LEFT[p.done] as string] : [])], help });
  switch (p.code) {
    case "lock-held":
      return word(
        `another push is at work ${on}: ${lockHolder(p.detail)}`,
        "wait for it to end, then push again",
      );
    case "generation-moved":
      return word(
        `the machine moved on ${on} while this push was planned; it is now at generation ${p.detail.split(" ")[0]}`,
        "push again: it plans anew",
      );
    case "state-moved":
      return word(`the machine changed ${on} since it was last seen: ${p.detail}`, "push again");
    case "foreign-file":
      return word(
        `${TREE_ROOT}/${p.detail} ${on} was not made by labctl`,
        "move it away on the machine, or rename the file in the layer",
      );
    case "stage-incomplete":
      return word(`a staged file did not arrive ${on}: ${p.detail}`, "push again");
    case "parcel-damaged":
      return word(`what was sent did not arrive whole ${on}: ${p.detail}`, "push again");
    case "parcel-failed":
      // The same words as where rsync stages.
      return /no space|quota/i.test(p.detail)
        ? problem("disk-full", `no space is left ${on} under ${TREE_ROOT}`, {
            notes: [p.detail, ...(LEFT[p.done] ? [LEFT[p.done] as string] : [])],
            help: `make room in ${TREE_ROOT} there, then push again`,
          })
        : word(
            `what was sent could not be staged ${on}: ${p.detail}`,
            "correct what it says, then push again",
          );
    case "confirm-pending":
      return word(
        `an earlier push to machine \`${p.machine}\` still waits for its confirmation (generation ${p.detail.split(" ")[0]})`,
        "wait a minute, then push again",
      );
    case "unit-failed":
      return word(
        `${p.detail} failed ${on}`,
        `see \`journalctl -u ${p.detail}\` there; correct the layer and push again`,
      );
    case "unit-restarting":
      return word(
        `${p.detail} starts and dies over and over ${on}`,
        `see \`journalctl -u ${p.detail}\` there; correct the layer and push again`,
      );
    case "damaged":
      return describeDamage(p.machine, [p.detail]);
    case "trigger-failed":
      return word(
        `\`${p.detail}\` refused the new configuration ${on}`,
        "correct the files it reads and push again",
      );
    case "daemon-reload-failed":
      return word(
        `systemctl daemon-reload failed ${on}: ${p.detail}`,
        "log in and look at PID 1: `journalctl -b -p err`",
      );
    case "commit-refused":
      return word(
        `the commit was refused ${on}: ${p.detail}`,
        /no space/i.test(p.detail)
          ? `make room in ${TREE_ROOT} there, then push again`
          : "correct what it says, then push again",
      );
    case "commit-failed":
      return word(`the commit failed ${on}: ${p.detail}`, "push again");
    case "confirm-not-armed":
      return word(
        `the timer that would undo a bad push could not be set ${on}: ${p.detail}`,
        "see `systemctl status` there, or push with --no-confirm",
      );
    case "not-waiting":
      // The detail is `generation N ID` of what stands now; the state's usual wording would be wrong.
      return problem(p.code, `the confirmation came too late ${on}: it has taken the change back`, {
        notes: [`it is at ${p.detail.split(" ").slice(0, 2).join(" ")} again`],
        help: "see what made the push slow; --confirm-seconds gives it more time",
      });
    case "not-kept":
      return word(
        `the machine no longer keeps the old content of ${p.detail}`,
        "push the commit you want instead",
      );
    default: {
      const broken = wordBroken(p.code, p.detail, on);
      if (broken) return word(broken.message, broken.help);
      return word(
        `the machine refused \`${p.verb}\`: ${p.code} ${p.detail}`,
        "push again; if it is refused again, log in and look at /usr/local/.labctl",
      );
    }
  }
}
