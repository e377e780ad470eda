/**
 * What a guest is: a container or virtual machine of a machine, as `etc/guests/NAME.json` (declared) or
 * `/var/lib/local/guests/NAME/guest.json` (made by hand) defines it. Owns the type, its defaults and units; also bundled
 * into programs that machines run. Pure; must not know how a definition is written, nor whether its image or network
 * exists.
 */

export const GUEST_KINDS = ["container", "vm"] as const;
export const MOUNT_KINDS = ["bind", "nfs", "iscsi"] as const;
export const VM_MACHINES = ["microvm", "q35"] as const;
export const VM_FIRMWARES = ["none", "uefi"] as const;
export const VM_ACCELERATORS = ["kvm", "tcg"] as const;

/**
 * A device of the machine that a virtual machine gets: `pci:0000:01:00.0` whole, by VFIO; `mdev:UUID` a mediated device
 * that exists; `render:0000:00:02.0` the right to draw with that GPU.
 */
export const VM_DEVICE =
  /^(pci|render):[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$|^mdev:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Without quotes, backslashes and `$`, which mean something to those through whose hands it goes. */
export const VM_APPEND = /^[A-Za-z0-9 .,:;=_@/%+()[\]-]{1,1000}$/;

/** At most 11 characters: `vb-NAME` and its like name interfaces, which have at most 15 bytes (netdevice(7), IFNAMSIZ). */
export const GUEST_NAME = /^[a-z]([a-z0-9-]{0,9}[a-z0-9])?$/;
/** An instance of `image@.service`, and a file's name. */
export const IMAGE_NAME = /^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/;
/** An interface's name and a domain's. */
export const NETWORK_NAME = /^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$/;

/** Undefined fields are without limit. Sizes as written, `512M`; `sizeBytes` reads them. */
export interface GuestResources {
  /** Of one processor, `200%` being two. */
  readonly cpu?: string;
  readonly memory?: string;
  /** Processes and threads. */
  readonly tasks?: number;
  /** Share of disk time when it is contended, 1 to 10,000; others have 100. */
  readonly io?: number;
  /** Of its own file system. */
  readonly disk?: string;
}

export interface GuestMount {
  readonly kind: (typeof MOUNT_KINDS)[number];
  /** bind: an absolute path of the machine; nfs: `SERVER:/PATH`; iscsi: `SERVER[:PORT]/IQN[/LUN]`. */
  readonly source: string;
  /** An absolute path inside the guest. */
  readonly target: string;
  readonly readOnly: boolean;
}

/** What only virtual machines have. */
export interface GuestVm {
  readonly machine: (typeof VM_MACHINES)[number];
  readonly cpus: number;
  readonly firmware: (typeof VM_FIRMWARES)[number];
  /** Attached only while the disk is blank: an absolute path of the machine. */
  readonly iso?: string;
  readonly display: boolean;
  /** `tcg` has to be asked for: an emulated processor is some ten times slower. */
  readonly accelerator: (typeof VM_ACCELERATORS)[number];
  /** Devices of the machine that the guest gets, of form `VM_DEVICE`; undefined: none. */
  readonly devices?: readonly string[];
  /** More words for the kernel's command line, where the image has a kernel of its own. */
  readonly append?: string;
}

export interface Guest {
  readonly name: string;
  readonly kind: (typeof GUEST_KINDS)[number];
  /** Instance of `image@.service`. */
  readonly image: string;
  /** A network of the machine, declared or not. Undefined: loopback only. */
  readonly network?: string;
  readonly autostart: boolean;
  /** Can't be removed. */
  readonly pinned: boolean;
  /** Its root lasts from start to stop. */
  readonly ephemeral: boolean;
  /** From the start of its processes until it must have said READY. */
  readonly readySeconds: number;
  /** From the request to shut down until it is ended by force. */
  readonly stopSeconds: number;
  readonly resources: GuestResources;
  readonly mounts: readonly GuestMount[];
  /** Lines of an authorized_keys(5) file; who may log in as its root. */
  readonly sshKeys: readonly string[];
  /** Folder of the machine that the guest sees, read-only, as its `/usr/local`. Undefined: it has its own. */
  readonly tree?: string;
  /** Defined for a `vm`, and for nothing else. */
  readonly vm?: GuestVm;
}

/** What a definition leaves out. TCG takes tens of seconds to boot what KVM boots in one. */
export const GUEST_DEFAULTS = {
  readySeconds: { container: 30, vm: 120 },
  stopSeconds: 20,
  vm: { machine: "microvm", cpus: 1, firmware: "none", display: false, accelerator: "kvm" },
} as const;

/** Bytes of `512M`, `1.5G`, `4096`: factors of 1024, K to T; undefined for anything else. Pure. */
export function sizeBytes(text: string): number | undefined {
  const match = /^(\d{1,15})(\.\d{1,3})?([KMGT]?)$/.exec(text);
  if (!match || (match[2] !== undefined && match[3] === "")) return undefined;
  const factor = 1024 ** ["", "K", "M", "G", "T"].indexOf(match[3] ?? "");
  return Math.round(Number(`${match[1]}${match[2] ?? ""}`) * factor);
}

/** Hundredths of a processor: 200 for `200%`; undefined for anything else. Pure. */
export function cpuPercent(text: string): number | undefined {
  const percent = Number(/^(\d{1,6})%$/.exec(text)?.[1] ?? Number.NaN);
  return percent >= 1 ? percent : undefined;
}
