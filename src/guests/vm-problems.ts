/**
 * What can be wrong with a virtual machine on the machine that is to run it, and how it is said.
 */
import { type Diagnostic, printable, problem } from "../diagnostics.ts";

export type VmProblem =
  | { readonly kind: "no-vm"; readonly guest: string }
  | { readonly kind: "no-kvm"; readonly guest: string; readonly why: string }
  | { readonly kind: "no-kernel"; readonly guest: string; readonly image: string }
  | { readonly kind: "no-firmware"; readonly guest: string }
  | { readonly kind: "no-disk"; readonly guest: string; readonly image: string; readonly found: string }
  | { readonly kind: "no-file"; readonly guest: string; readonly what: string; readonly file: string }
  | {
      readonly kind: "architecture";
      readonly guest: string;
      readonly image: string;
      readonly found: string;
      readonly host: string;
    }
  | { readonly kind: "mount"; readonly guest: string; readonly target: string; readonly what: string }
  | { readonly kind: "network"; readonly guest: string; readonly network: string; readonly mode: string }
  | { readonly kind: "device"; readonly guest: string; readonly device: string; readonly why: string }
  | { readonly kind: "command-line"; readonly guest: string; readonly bytes: number }
  | { readonly kind: "argument"; readonly guest: string; readonly argument: string }
  | { readonly kind: "ended"; readonly guest: string; readonly console: readonly string[] }
  | {
      readonly kind: "not-ready";
      readonly guest: string;
      readonly seconds: number;
      readonly console: readonly string[];
    };

/** Words one problem. Pure. */
export function describeVmProblem(p: VmProblem): Diagnostic {
  const guest = `guest \`${p.guest}\``;
  switch (p.kind) {
    case "no-vm":
      return problem("vm-kind", `${guest} is no virtual machine`, {
        help: `start container@${p.guest}.service, or say \`"kind":"vm"\` in its definition`,
      });
    case "no-kvm":
      return problem("vm-no-kvm", `${guest} wants KVM, which does not work on this machine`, {
        notes: [
          p.why,
          "nothing was started; an emulated processor is some ten times slower, so it has to be asked for",
        ],
        help: 'say `"accelerator":"tcg"` in `vm` of its definition, or mend KVM and run `systemctl restart vm-host`',
      });
    case "no-kernel":
      return problem(
        "vm-no-kernel",
        `${guest} is a microvm, but image \`${p.image}\` has no kernel of its own`,
        {
          notes: ["a microvm has no firmware that could look for one on the disk"],
          help: 'say `"machine":"q35"`, or take an image with a kernel',
        },
      );
    case "no-firmware":
      return problem("vm-no-firmware", `${guest} wants UEFI, whose files are not on this machine`, {
        help: "install Debian's package `ovmf`",
      });
    case "no-disk":
      return problem("vm-no-disk", `${guest} needs a disk, but image \`${p.image}\` is ${p.found}`, {
        help: "take an image of kind `disk`, or start it as a container",
      });
    case "no-file":
      return problem("vm-no-file", `${guest}: its ${p.what} is not there: ${printable(p.file)}`, {
        help: `see systemctl status guest-root@${p.guest}.service, or correct its definition`,
      });
    case "architecture":
      return problem(
        "vm-architecture",
        `${guest}: image \`${p.image}\` is for ${p.found}, this machine is ${p.host}`,
        {
          help: "take an image for this architecture",
        },
      );
    case "mount":
      return problem("vm-mount", `${guest} can't have ${p.what} at ${printable(p.target)}`, {
        help: "say `readOnly`, take `nfs`, or let the guest mount it itself",
      });
    case "network":
      return problem("vm-network", `${guest} can't be on network \`${p.network}\`, whose mode is ${p.mode}`, {
        notes: ["a virtual machine hangs on a bridge"],
        help: "take a network of mode nat, routed or bridge",
      });
    case "device":
      return problem("vm-device", `${guest} can't have device \`${p.device}\`: ${p.why}`, {
        help: "see lspci -nnk and, for mediated devices, ls /sys/bus/mdev/devices on the machine",
      });
    case "command-line":
      return problem(
        "vm-command-line",
        `${guest}: its kernel's command line would have ${p.bytes} bytes; Linux reads 2047`,
        {
          help: "shorten `append` in `vm` of its definition",
        },
      );
    case "argument":
      return problem("vm-argument", `${guest}: ${printable(p.argument)} holds a control character`, {
        notes: ["it would not reach QEMU as it stands"],
        help: "name it without one",
      });
    case "ended":
      return problem("vm-ended", `${guest} ended before it said that it is ready`, {
        notes: consoleNotes(p.console),
        help: `see journalctl -u vm@${p.guest}.service`,
      });
    case "not-ready":
      return problem(
        "vm-not-ready",
        `${guest} did not say that it is ready within ${p.seconds} s, and is stopped`,
        {
          notes: consoleNotes(p.console),
          help: "raise `readySeconds` if it was merely slow; a guest without systemd 256 or cloud-init has to write READY=1 to its port labctl.ready",
        },
      );
  }
}

function consoleNotes(lines: readonly string[]): string[] {
  if (lines.length === 0) return ["its console said nothing"];
  return ["the last lines of its console:", ...lines.map((line) => `  ${printable(line)}`)];
}
