/** What a change broke, and what was found broken: the wording of refusals that keep a machine safe. Pure. */
import { type Diagnostic, problem } from "../diagnostics.ts";
import { TREE_ROOT } from "../paths.ts";

/**
 * Message and help of a problem that the remote program found once a change was made; undefined: none of these. `on`
 * names the machine; the detail is the machine's and untrusted.
 */
export function wordBroken(
  code: string,
  detail: string,
  on: string,
): { readonly message: string; readonly help: string } | undefined {
  switch (code) {
    case "check-failed": {
      // `PATH: how it ended`
      const [path = "", ...how] = detail.split(": ");
      const ended = how.length > 0 ? `: ${how.join(": ")}` : "";
      return {
        message: `the check ${path} failed ${on}${ended}`,
        help: "correct what it says and push again",
      };
    }
    case "no-space":
      return {
        message: `the change filled ${TREE_ROOT} ${on}`,
        help: "see what of the change writes there; state belongs in /var/lib/local",
      };
    case "rules-refused":
      return {
        message: `nft refuses the new rules of the firewall ${on}: ${detail}`,
        help: "correct the file in the layer; `labctl verify` finds most of these without the machine",
      };
    case "access-cut": {
      // `ADDRESS PORT`
      const [address = "", port = ""] = detail.split(" ");
      return {
        message: `the new rules of the firewall would cut you off: ${address} would not reach port ${port} ${on}`,
        help: `let ${address} in to port ${port}, or push with --no-confirm if that is meant`,
      };
    }
    case "route-lost":
      return {
        message: `the change took the default route (${detail}) away ${on}`,
        help: "correct the network files, or push with --no-confirm if that is meant",
      };
    case "names-lost":
      return {
        message: `after the change ${detail} can't be resolved any more ${on}`,
        help: "correct what the change did to resolv.conf, resolved or nsswitch.conf, or push with --no-confirm if that is meant",
      };
    default:
      return undefined;
  }
}

/** labctl's own files on a machine are damaged; `what` lists them, `NAME WHY` each. */
export function describeDamage(machine: string, what: readonly string[]): Diagnostic {
  const folder = `${TREE_ROOT}/.labctl`;
  const isFolder = what.some((line) => line.startsWith("folder "));
  return problem("damaged-state", `labctl's own files on machine \`${machine}\` are damaged`, {
    notes: [
      ...what.map((line) =>
        line.startsWith("folder ")
          ? `${folder}: ${line.slice("folder ".length)}`
          : `${folder}/${line.replace(" ", ": ")}`,
      ),
      "nothing on the machine changed",
    ],
    help: isFolder
      ? `see who made ${folder} what it is, move it away, and push with --take-over`
      : "push with --take-over: it puts the whole tree again, forgets the generations kept there, and leaves what is not labctl's",
  });
}

/** Who took a change back: the machine when told so, the machine by itself, or nobody that we know of. */
export type AftermathState = "told" | "itself" | "unknown";

/**
 * A change that could not be confirmed, because of `why`, and what became of it: the machine took it back, told over
 * the connection that still stood (`told`) or by itself (`itself`), or nobody can say (`unknown`).
 */
export function describeAftermath(p: {
  readonly machine: string;
  readonly number: number;
  readonly why: Diagnostic;
  readonly state: AftermathState;
  /** Since the change was made. */
  readonly afterS: number;
}): Diagnostic {
  const back = `generation ${p.number} was taken back`;
  const state = {
    told: `${back}, tree and units: the machine was told over the connection that still stood`,
    itself: `${back}, tree and units, by the machine itself; it answers again (after ${p.afterS.toFixed(0)} s)`,
    unknown: `the machine was not reached again (after ${p.afterS.toFixed(0)} s); it takes generation ${p.number} back by itself, tree and units, if it runs, or at its next boot`,
  }[p.state];
  return problem(
    "not-confirmed",
    `no fresh connection to machine \`${p.machine}\` could be made after the change`,
    {
      notes: [`why: [${p.why.code}] ${p.why.message}`, state],
      help: "look at what the change did to sshd, the firewall or the network; `--no-confirm` skips this safeguard",
    },
  );
}
