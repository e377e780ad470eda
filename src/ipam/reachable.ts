/**
 * Under which addresses others meet a machine on a network that it shares with them, told from what was probed of it. Must
 * not know what is allocated. Pure.
 */
import type { FactValue } from "../facts/fact.ts";
import { formatAddress, parseCidr } from "./cidr.ts";
import { readLinks } from "./wish.ts";

/** The loopback, and what counts on one link only (RFC 6890; RFC 4291, section 2.4). */
const OWN_AFFAIR = /^(127\.|169\.254\.|::1$|fe[89ab][0-9a-f]:)/;

/**
 * Addresses without their lengths, IPv4 first, sorted: those on links that are physical or that a default route leaves
 * by. The machine's own networks and tunnels are no way to it. `links` is `HOST_LINKS`, `routes` is `HOST_ROUTES`; empty
 * where there is none, or the facts have not their form.
 */
export function reachableAddresses(links: FactValue | undefined, routes: FactValue | undefined): string[] {
  const waysOut = new Set(
    (Array.isArray(routes) ? (routes as readonly FactValue[]) : []).flatMap((line) => {
      const [, link] = /^default (?:.* )?dev (\S+)/.exec(typeof line === "string" ? line : "") ?? [];
      return link === undefined ? [] : [link];
    }),
  );
  const found = readLinks(links)
    .filter((link) => link.kind === "physical" || waysOut.has(link.name))
    .flatMap((link) => link.addresses)
    .flatMap((text) => parseCidr(text)?.address ?? [])
    .map((address) => ({ family: address.family, text: formatAddress(address) }))
    .filter(({ text }) => !OWN_AFFAIR.test(text));
  return [
    ...new Set(found.sort((a, b) => a.family - b.family || (a.text < b.text ? -1 : 1)).map((a) => a.text)),
  ];
}
