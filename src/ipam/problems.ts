/** What can be wrong with addresses, and how each is worded. Machine-ids are never shown. Pure. */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";

const LEDGER = "facts/ipam.json";

export type IpProblem =
  | { readonly kind: "ledger-conflict"; readonly line: number }
  | { readonly kind: "ledger-broken"; readonly line?: number; readonly why: string }
  | { readonly kind: "bad-prefix"; readonly what: string; readonly text: string; readonly place: Place }
  | {
      readonly kind: "host-bits";
      readonly what: string;
      readonly text: string;
      readonly meant: string;
      readonly place: Place;
    }
  | { readonly kind: "bad-size"; readonly text: string; readonly place: Place }
  | {
      readonly kind: "bad-setting";
      readonly network: string;
      readonly key: string;
      readonly value: string;
      readonly expected: string;
      readonly place: Place;
    }
  | {
      readonly kind: "link-name";
      readonly name: string;
      readonly fault: "too-long" | "letters" | "reserved" | "layer" | "taken";
      readonly machine: string;
      readonly place: Place;
    }
  | { readonly kind: "overlap"; readonly one: Claim; readonly other: Claim }
  | {
      readonly kind: "exhausted";
      readonly machine: string;
      readonly network: string;
      readonly length: number;
      readonly place: Place;
      /** The largest free blocks, as text. */
      readonly left: readonly string[];
      readonly freed: number;
    }
  | { readonly kind: "subnets-exhausted"; readonly machine: string; readonly place: Place }
  | {
      readonly kind: "unallocated";
      readonly machine: string;
      readonly network: string;
      readonly place: Place;
    }
  | { readonly kind: "same-id"; readonly machines: readonly string[] }
  | { readonly kind: "same-prefix"; readonly machines: readonly string[]; readonly prefix: string }
  | { readonly kind: "same-subnet"; readonly one: Claim; readonly other: Claim; readonly subnet: number }
  | { readonly kind: "twice"; readonly one: Claim; readonly other: Claim }
  | { readonly kind: "in-use"; readonly entry: Claim; readonly by: string; readonly prefix: string }
  | { readonly kind: "gone"; readonly entry: Claim; readonly machineGone: boolean };

/** Who claims a prefix, and where that stands. */
export interface Claim {
  /** `network lan of machine gw`, `reservation office`. */
  readonly who: string;
  readonly prefix: string;
  readonly place: Place;
  /** True: it is in the ledger, so that a new plan can give it another. */
  readonly moves?: boolean;
}

/** Words a problem. Pure. */
export function describe(p: IpProblem): Diagnostic {
  switch (p.kind) {
    case "ledger-conflict":
      return problem("ip-ledger-conflict", "an unfinished merge: two branches allocated addresses", {
        place: { file: LEDGER, line: p.line },
        notes: ["nothing was changed"],
        help: "`labctl ip check` says which allocations of the two collide, and what to do",
      });
    case "ledger-broken":
      return problem("ip-ledger-broken", p.why, {
        place: { file: LEDGER, ...(p.line === undefined ? {} : { line: p.line }) },
        notes: ["nothing was changed; addresses that are in use must not be given out again"],
        help: `bring it back with \`git checkout ${LEDGER}\``,
      });
    case "bad-prefix":
      return problem("ip-bad-prefix", `${p.what} \`${p.text}\` is no IPv4 prefix`, {
        place: p.place,
        help: "write it like 10.0.0.0/24",
      });
    case "host-bits":
      return problem("ip-host-bits", `${p.what} \`${p.text}\` is an address in a network, not a network`, {
        place: p.place,
        help: `did you mean \`${p.meant}\`?`,
      });
    case "bad-size":
      return problem("ip-bad-size", `a network can't have the size \`${p.text}\``, {
        place: p.place,
        notes: [
          "a network goes from /8 to /30: a /31 has no room for the bridge and a guest beside the network's own two addresses",
        ],
        help: "write `ipv4 = /24` for 254 addresses, or `ipv4 = 10.0.0.0/24` for these very ones",
      });
    case "bad-setting":
      return problem("ip-bad-setting", `network \`${p.network}\` can't have \`${p.key} = ${p.value}\``, {
        place: p.place,
        notes: [`expected: ${p.expected}`],
        help: "correct it",
      });
    case "link-name":
      return problem(
        "ip-link-name",
        `\`${p.name}\` can't be the name of a network on machine \`${p.machine}\``,
        {
          place: p.place,
          notes: [LINK_NAME_FAULTS[p.fault](p.name)],
          help: "rename it",
        },
      );
    case "overlap":
      return problem(
        "ip-overlap",
        `${p.one.who} (${p.one.prefix}) and ${p.other.who} (${p.other.prefix}) overlap`,
        {
          place: p.one.place,
          notes: [`${placeText(p.other.place)}: ${p.other.who}`, ...overlapNotes(p.one, p.other)],
          help: overlapHelp(p.one, p.other),
        },
      );
    case "exhausted":
      return problem(
        "ip-exhausted",
        `no free /${p.length} is left for network \`${p.network}\` of machine \`${p.machine}\``,
        {
          place: p.place,
          notes: [
            `left: ${p.left.length === 0 ? "nothing" : p.left.join(", ")}`,
            ...(p.freed > 0
              ? [`${p.freed} that this plan releases can be given out once it is written and pushed`]
              : []),
            "nothing was changed",
          ],
          help: "take a smaller network, or shrink a reservation in lab.ini, `[reserved]`",
        },
      );
    case "subnets-exhausted":
      return problem("ip-exhausted", `machine \`${p.machine}\` has no IPv6 subnet left`, {
        place: p.place,
        notes: ["a machine has 32,512 for its declared networks", "nothing was changed"],
        help: "remove networks from its machine.ini",
      });
    case "unallocated":
      return problem(
        "ip-unallocated",
        `network \`${p.network}\` of machine \`${p.machine}\` has no addresses yet`,
        {
          place: p.place,
          notes: [`looked in: ${LEDGER}`],
          help: "run `labctl ip plan` to see them, `labctl ip plan --write` to keep them, and commit the file",
        },
      );
    case "same-id":
      return problem("ip-same-id", `machines ${list(p.machines)} have one and the same machine-id`, {
        place: { file: `facts/probed/${p.machines.at(-1)}.json` },
        notes: [
          "they would have the same IPv6 addresses; copies of one image share its id",
          "two machine.ini files that lead to one host show this, too",
        ],
        help: `on \`${p.machines.at(-1)}\`: \`rm /etc/machine-id && systemd-machine-id-setup && reboot\`, then \`labctl facts probe ${p.machines.at(-1)}\``,
      });
    case "same-prefix":
      return problem(
        "ip-same-prefix",
        `machines ${list(p.machines)} have different ids that lead to one IPv6 prefix, ${p.prefix}`,
        {
          place: { file: `facts/probed/${p.machines.at(-1)}.json` },
          notes: ["among 10,000 machines this happens to one fleet in 22,000: docs/addressing.md"],
          help: `give \`${p.machines.at(-1)}\` a new id: \`rm /etc/machine-id && systemd-machine-id-setup && reboot\`, then \`labctl facts probe ${p.machines.at(-1)}\``,
        },
      );
    case "same-subnet":
      return problem("ip-overlap", `${p.one.who} and ${p.other.who} have one IPv6 subnet, ${p.subnet}`, {
        place: p.one.place,
        notes: [`${placeText(p.other.place)}: ${p.other.who}`, MERGED],
        help: `delete one of the two lines, then run \`labctl ip plan --write\``,
      });
    case "twice":
      return problem("ip-twice", `${p.one.who} stands twice in the ledger`, {
        place: p.one.place,
        notes: [`${placeText(p.other.place)}: ${p.other.prefix}`, MERGED],
        help: "keep the line that its machine runs with, and delete the other",
      });
    case "in-use":
      return problem("ip-in-use", `${p.entry.who} (${p.entry.prefix}) overlaps ${p.prefix}, ${p.by}`, {
        place: p.entry.place,
        help: "if that is a network of its own, delete the line and run `labctl ip plan --write`; if not, probe that machine again",
      });
    case "gone":
      return problem(
        "ip-gone",
        `${p.entry.who} (${p.entry.prefix}) ${p.machineGone ? "belongs to a machine that is gone" : "is no longer in its machine.ini"}`,
        {
          place: p.entry.place,
          help: "`labctl ip plan --write` releases it",
        },
      );
  }
}

const MERGED =
  "two branches that both allocated, and whose lines did not touch, merge like this without a conflict";

const LINK_NAME_FAULTS: Readonly<
  Record<"too-long" | "letters" | "reserved" | "layer" | "taken", (name: string) => string>
> = {
  "too-long": (name) =>
    `it becomes the name of an interface, which has at most 15 bytes; this one has ${Buffer.byteLength(name)}`,
  letters: () =>
    "it becomes the name of an interface and of a domain: lower-case letters, digits and `-`, first a letter, last no `-`",
  reserved: () => "the kernel uses it for something else",
  layer: () => "the layer wireguard makes a link of that name",
  taken: () => "a physical link of that machine has it",
};

function overlapNotes(one: Claim, other: Claim): string[] {
  return one.moves && other.moves ? [MERGED] : [];
}

function overlapHelp(one: Claim, other: Claim): string {
  if (one.moves && other.moves)
    return "delete the line of the one that is not pushed yet, then run `labctl ip plan --write`: it gets other addresses";
  if (one.moves || other.moves)
    return "delete the allocation's line, then run `labctl ip plan --write`: it gets other addresses";
  return "change one of the two";
}

function placeText(place: Place): string {
  return place.line === undefined ? place.file : `${place.file}:${place.line}`;
}

function list(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(" and ");
}
