/**
 * Reads what `src/push/remote/facts.sh` prints into facts. The text is a machine's and untrusted: anything that is not of
 * the form expected refuses the whole answer. Pure; must not know how it was got.
 */
import { isIP } from "node:net";
import type { Result } from "../diagnostics.ts";
import { failure, printable, problem, success } from "../diagnostics.ts";
import type { FactValue } from "./fact.ts";

/** A probe prints some kilobytes; a machine with hundreds of links some hundred. */
export const MAX_PROBE_BYTES = 1 << 20;

const WORD = /^[\x20-\x7e]{0,255}$/;
const NUMBER = /^\d{1,15}$/;

/** Facts by name, all beginning with `HOST_`. */
export type ProbedFacts = Readonly<Record<string, FactValue>>;

/** `machine` is for messages. Pure. */
export function readProbeAnswer(text: string, machine: string): Result<ProbedFacts> {
  const refuse = (what: string): Result<ProbedFacts> =>
    failure(
      problem("bad-answer", `machine \`${machine}\` gave an answer to the probe that makes no sense`, {
        notes: [what, "no fact was changed"],
        help: "log in and see what its shell prints at the start",
      }),
    );
  if (text.length > MAX_PROBE_BYTES) return refuse(`it is longer than ${MAX_PROBE_BYTES} characters`);
  const lines = text.split("\n");
  if (lines.pop() !== "" || lines.at(-1) !== "end") return refuse("its last line is not `end`");
  if (lines[0] !== "labctl-facts\t1")
    return refuse(`its first line is \`${printable((lines[0] ?? "").slice(0, 60))}\``);
  const facts = new Map<string, FactValue>();
  const lists = new Map<string, FactValue[]>();
  const push = (name: string, value: FactValue): void => {
    lists.set(name, [...(lists.get(name) ?? []), value]);
  };
  for (const [index, line] of lines.slice(1, -1).entries()) {
    const [name = "", ...fields] = line.split("\t");
    const reader = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
    if (!reader || !fields.every((f) => WORD.test(f)))
      return refuse(`line ${index + 2}: \`${printable(line.slice(0, 60))}\``);
    const read = reader(fields);
    if (read === undefined) return refuse(`line ${index + 2}: \`${printable(line.slice(0, 60))}\``);
    for (const [fact, value] of Object.entries(read.one ?? {})) facts.set(fact, value);
    if (read.many) push(read.many[0], read.many[1]);
  }
  addAddresses(lists);
  const packages = Object.fromEntries(
    (lists.get("HOST_PACKAGES") ?? []).map(
      (p) => Object.values(p as Record<string, string>) as [string, string],
    ),
  );
  lists.delete("HOST_PACKAGES");
  if (Object.keys(packages).length > 0) facts.set("HOST_PACKAGES", packages);
  for (const name of [
    "HOST_FILE_SYSTEMS",
    "HOST_LINKS",
    "HOST_ROUTES",
    "HOST_GPUS",
    "HOST_PCI",
    "HOST_MDEVS",
  ])
    facts.set(name, lists.get(name) ?? []);
  return success(Object.fromEntries([...facts].sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** One line's facts: single ones, or an item of a list; undefined refuses the answer. */
interface ReadLine {
  readonly one?: Readonly<Record<string, FactValue>>;
  readonly many?: readonly [string, FactValue];
}
type LineReader = (fields: readonly string[]) => ReadLine | undefined;

const text =
  (fact: string, form: RegExp): LineReader =>
  ([value = ""]) =>
    value === "" ? {} : form.test(value) ? { one: { [fact]: value } } : undefined;
const number =
  (fact: string, factor = 1): LineReader =>
  ([value = ""]) =>
    value === "" ? {} : NUMBER.test(value) ? { one: { [fact]: Number(value) * factor } } : undefined;

/** Interface names have at most 15 bytes, no slash and no blank (netdevice(7), IFNAMSIZ). */
const INTERFACE = /^[^\s/]{1,15}$/;

const READERS: Readonly<Record<string, LineReader>> = {
  "machine-id": text("HOST_MACHINE_ID", /^[0-9a-f]{32}$/),
  hostname: text("HOST_NAME", /^[A-Za-z0-9_.-]{1,64}$/),
  architecture: text("HOST_ARCHITECTURE", /^[a-z0-9_]{1,32}$/),
  kernel: text("HOST_KERNEL", /^[A-Za-z0-9_.+~-]{1,100}$/),
  cpus: number("HOST_CPUS"),
  "memory-kib": number("HOST_MEMORY_BYTES", 1024),
  virtualisation: text("HOST_VIRTUALISATION", /^[a-z0-9-]{1,32}$/),
  os: ([id = "", version = "", codename = ""]) =>
    [id, version, codename].every((v) => /^[A-Za-z0-9_.-]{0,64}$/.test(v))
      ? { one: { HOST_OS: id, HOST_OS_VERSION: version, HOST_OS_CODENAME: codename } }
      : undefined,
  systemd: number("HOST_SYSTEMD"),
  "time-zone": text("HOST_TIME_ZONE", /^[A-Za-z0-9_+/-]{1,64}$/),
  kvm: ([value]) => (value === "yes" || value === "no" ? { one: { HOST_KVM: value === "yes" } } : undefined),
  "cgroup-controllers": ([value = ""]) =>
    /^[a-z0-9_ ]*$/.test(value)
      ? { one: { HOST_CGROUP_CONTROLLERS: value.split(" ").filter((w) => w !== "") } }
      : undefined,
  "file-system": ([path = "", type = "", source = "", sizeKib = "", freeKib = ""]) =>
    path.startsWith("/") && /^[a-z0-9_.-]{1,32}$/.test(type) && /^\d*$/.test(sizeKib) && /^\d*$/.test(freeKib)
      ? { many: ["HOST_FILE_SYSTEMS", { path, type, source, sizeBytes: Number(sizeKib) * 1024 }] }
      : undefined,
  // 32 bytes: the last digit stands for four bits of them.
  "wireguard-key": text("HOST_WIREGUARD_KEY", /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/),
  link: ([name = "", index = "", kind = "", mac = "", state = "", mtu = ""]) =>
    INTERFACE.test(name) &&
    NUMBER.test(index) &&
    /^(physical|virtual)$/.test(kind) &&
    /^[0-9a-f:]*$/.test(mac) &&
    /^[a-z]*$/.test(state)
      ? { many: ["HOST_LINKS", { name, index: Number(index), kind, mac, mtu: Number(mtu) || 0 }] }
      : undefined,
  address: ([name = "", family = "", address = ""]) =>
    INTERFACE.test(name) && /^inet6?$/.test(family) && isIP(address.split("/")[0] ?? "") !== 0
      ? { many: ["ADDRESSES", { name, address }] }
      : undefined,
  route: ([route = ""]) =>
    /^[A-Za-z0-9_.:/@ -]*$/.test(route) ? { many: ["HOST_ROUTES", route.trim()] } : undefined,
  gpu: ([slot = "", vendor = "", device = ""]) =>
    /^[0-9a-f:.]{1,20}$/.test(slot) && /^0x[0-9a-f]{4}$/.test(vendor) && /^0x[0-9a-f]{4}$/.test(device)
      ? { many: ["HOST_GPUS", { slot, vendor, device }] }
      : undefined,
  pci: ([slot = "", kind = "", group = ""]) =>
    /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(slot) &&
    /^0x[0-9a-f]{6}$/.test(kind) &&
    /^\d{1,6}$/.test(group)
      ? { many: ["HOST_PCI", { slot, class: kind, iommuGroup: Number(group) }] }
      : undefined,
  mdev: ([uuid = ""]) =>
    /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid) ? { many: ["HOST_MDEVS", uuid] } : undefined,
  package: ([name = "", version = ""]) =>
    /^[a-z0-9+.-]{1,100}$/.test(name) && /^[A-Za-z0-9.+:~-]{0,100}$/.test(version)
      ? { many: ["HOST_PACKAGES", { name, version }] }
      : undefined,
};

/** Addresses belong to their links. */
function addAddresses(lists: Map<string, FactValue[]>): void {
  const addresses = (lists.get("ADDRESSES") ?? []) as { name: string; address: string }[];
  lists.delete("ADDRESSES");
  const links = (lists.get("HOST_LINKS") ?? []) as { name: string }[];
  lists.set(
    "HOST_LINKS",
    links.map((link) => ({
      ...link,
      addresses: addresses.filter((a) => a.name === link.name).map((a) => a.address),
    })),
  );
}
