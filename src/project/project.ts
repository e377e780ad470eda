/**
 * What a repository says, as plain values: its machines, the layers they use, and where their files lie.
 * Types only; `read-project.ts` fills them.
 */
import type { Place } from "../diagnostics.ts";
import type { AbsPath, FactName, LayerName, MachineName } from "../paths.ts";

/** Mode and owner for the paths that a glob matches; undefined fields stay as they are. */
export interface AttributeRule {
  /** Relative to the tree root; `*` within one name, `**` across names. */
  readonly glob: string;
  readonly mode?: number;
  readonly owner?: string;
  readonly group?: string;
  readonly place: Place;
}

export type FactType = "string" | "int" | "bool" | "port" | "ip" | "cidr" | "list" | "json";

export interface FactDeclaration {
  readonly name: FactName;
  /** Undefined: the layer requires the fact to be set elsewhere. */
  readonly defaultValue?: string;
  /** Undefined: any text. */
  readonly type?: FactType;
  readonly layer: LayerName;
  readonly place: Place;
}

/** A credential that a machine shall have, as a layer or the machine itself asks for it. */
export interface CredentialWish {
  /** Its name on the machine, as units load it. */
  readonly credential: string;
  /** Name of the secret in `secrets/`. Undefined: a layer leaves it to the machine. */
  readonly secret: string | undefined;
  readonly by: LayerName | "machine";
  readonly place: Place;
}

export interface Layer {
  readonly name: LayerName;
  /** Where its files are; inside the repository, or inside the installed package for a built-in layer. */
  readonly folder: AbsPath;
  readonly builtIn: boolean;
  readonly description: string;
  readonly needs: readonly LayerName[];
  readonly packages: readonly string[];
  readonly facts: readonly FactDeclaration[];
  readonly attributes: readonly AttributeRule[];
  readonly credentials: readonly CredentialWish[];
  /** Path in the tree → layers whose file at that path this layer declares that it replaces. */
  readonly overrides: ReadonlyMap<string, { readonly layers: readonly string[]; readonly place: Place }>;
}

/** `[network NAME]` of a machine.ini, as written. */
export interface NetworkSection {
  readonly name: string;
  /** By key; those of `NETWORK_KEYS` in read-machine.ts. */
  readonly settings: ReadonlyMap<string, { readonly value: string; readonly place: Place }>;
  readonly place: Place;
}

/** `[guest NAME]` of a machine.ini, as written. */
export interface GuestSection {
  readonly name: string;
  /** By key; those of `GUEST_KEYS` in read-guests.ts. */
  readonly settings: ReadonlyMap<string, { readonly value: string; readonly place: Place }>;
  readonly place: Place;
  /**
   * The guest as a machine of its own, called `MACHINE/GUEST`: its layers, its folder below the machine's. Undefined: it
   * has neither, so nothing is built for it.
   */
  readonly machine?: Machine;
}

/** A line of `[reserved]` in lab.ini, as written. */
export interface Reservation {
  readonly name: string;
  readonly value: string;
  readonly place: Place;
}

export interface Machine {
  /** A folder's name; of a guest `MACHINE/GUEST`. */
  readonly name: MachineName;
  /** Of a guest it need not exist. */
  readonly folder: AbsPath;
  /** Host name, address or `~/.ssh/config` alias. */
  readonly host: string;
  /** In the order in which they are laid, `needs` resolved and `base` first; each name occurs once. */
  readonly layers: readonly Layer[];
  readonly tags: readonly string[];
  /** Template unit instances that shall run, e.g. `scrub@data.service`. */
  readonly instances: readonly { readonly unit: string; readonly place: Place }[];
  readonly ssh: {
    readonly user?: string;
    readonly port?: number;
    readonly identityFiles: readonly string[];
    /** Undefined: the built-in one. */
    readonly client?: "builtin" | "openssh";
  };
  /** How many generations it keeps; undefined: as many as usual. */
  readonly keepGenerations?: number;
  readonly attributes: readonly AttributeRule[];
  /** In the order written. */
  readonly networks: readonly NetworkSection[];
  /** In the order written; empty for a guest. */
  readonly guests: readonly GuestSection[];
  /** `[guests]`, as written: what its guests may have together, by key. */
  readonly quotas: ReadonlyMap<string, { readonly value: string; readonly place: Place }>;
  /** These decide where layers ask for the same credential. */
  readonly credentials: readonly CredentialWish[];
  readonly place: Place;
}

export interface Project {
  /** The folder that holds `lab.ini`. */
  readonly root: AbsPath;
  readonly name: string;
  /** `name` as lab.ini gives it, the same in every clone; undefined: `name` is the folder's. */
  readonly givenName: string | undefined;
  /** Sorted by name. */
  readonly machines: readonly Machine[];
  /** Address space that is given to no network. */
  readonly reserved: readonly Reservation[];
  /** Every file that was read, and every one that was looked for and is absent: what a later run must look at again. */
  readonly filesRead: readonly AbsPath[];
}
