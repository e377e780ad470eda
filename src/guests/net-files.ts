/**
 * The files by which a guest is given its addresses, names and keys at its start. Pure; must not know who writes them, nor
 * how an address is taken.
 */
import { dhcpHostText, type GuestAddresses, guestEnvText, hostsText } from "./addresses.ts";
import { containerArguments, linkText, resolverText, TARGET_TEXT, tmpfilesText } from "./container.ts";
import type { Guest } from "./guest.ts";
import type { KitFile } from "./kit.ts";
import { commandsText, mountCommands, unmountCommands } from "./mounts.ts";
import { GUEST_RUN, GUEST_STATE, NETWORK_RUN } from "./places.ts";

export interface HostKey {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** Folder of the guest's own files while it runs. Pure. */
export function guestFolder(name: string): string {
  return `${GUEST_RUN}/${name}`;
}

/** What other units read of the guest while it runs. Pure. */
export function guestEnvFile(name: string): string {
  return `${GUEST_RUN}/${name}.env`;
}

/** Folders of a network that its dnsmasq watches: a file a guest in each. Pure. */
export function networkFolders(network: string): string[] {
  return ["hosts", "dhcp"].map((kind) => `${NETWORK_RUN}/${network}.${kind}`);
}

/** In the order in which they are written: the last is the one that others wait for. Pure. */
export function guestNetFiles(guest: Guest, a: GuestAddresses, hostKey: HostKey | undefined): KitFile[] {
  const { name } = guest;
  const inFolder = (file: string): string => `${guestFolder(name)}/${file}`;
  const files = {
    root: `${GUEST_STATE}/${name}/root`,
    link: inFolder("host0.network"),
    target: inFolder("multi-user.conf"),
    tmpfiles: inFolder("tmpfiles"),
    mount: (index: number) => inFolder(`mount-${index}`),
  };
  const plain = (file: string, text: string): KitFile => ({ file, mode: "644", text });
  const addressed = (file: string, text: string): KitFile => ({ file, mode: "644", text, isAddressed: true });
  const resolver = resolverText(a);
  const [hosts = "", dhcp = ""] = networkFolders(a.network ?? "");
  const lines = (list: readonly string[]): string => list.map((line) => `${line}\n`).join("");
  return [
    addressed(files.link, linkText(a)),
    plain(files.target, TARGET_TEXT),
    { file: files.tmpfiles, mode: "600", text: tmpfilesText(guest, hostKey) },
    ...(resolver === undefined ? [] : [addressed(inFolder("resolv.conf"), resolver)]),
    ...(guest.kind === "container"
      ? [plain(inFolder("net.arguments"), lines(containerArguments(guest, a, files)))]
      : []),
    plain(inFolder("mounts"), commandsText(mountCommands(guest, files.mount))),
    plain(inFolder("unmounts"), commandsText(unmountCommands(guest))),
    ...[addressed(`${hosts}/${name}`, hostsText(a)), addressed(`${dhcp}/${name}`, dhcpHostText(a))].filter(
      ({ text }) => text !== "",
    ),
    addressed(guestEnvFile(name), guestEnvText(a)),
  ];
}
