/**
 * Finds out what this machine can do for virtual machines, and writes it to /run/local/vm-host/abilities.json:
 *
 *     host.mjs probe       KVM, vsock, vhost-net, QEMU's version, the processor's counter
 *
 * KVM counts as working only if firmware really boots with it: where a hypervisor offers /dev/kvm to its own guests,
 * opening it, making a machine and a boot sector can all succeed, and yet everything that switches to 64 bits hangs.
 */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { HostAbilities } from "labctl/guests/qemu-arguments.ts";

const ANSWER = "/run/local/vm-host/abilities.json";
const QEMU = "/usr/bin/qemu-system-x86_64";
const UEFI = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/** Where KVM works it takes one second. */
const BOOT_PATIENCE_MS = 8_000;
/** The boot manager's name, the first that this firmware says on a serial line, after all its phases. */
const BOOTED = "BdsDxe";

try {
  if (process.argv[2] !== "probe") throw new Error("wrong usage: host.mjs probe");
  const abilities = await probe();
  writeFileSync(`${ANSWER}.draft`, `${JSON.stringify(abilities, undefined, 2)}\n`, { mode: 0o644 });
  renameSync(`${ANSWER}.draft`, ANSWER);
  const { kvm } = abilities;
  process.stdout.write(
    kvm.works
      ? "KVM works: firmware booted with it\n"
      : `KVM does not work: ${kvm.why}; guests start only with "accelerator":"tcg", which emulates a processor\n`,
  );
} catch (error) {
  process.stderr.write(`error[vm-host] ${(error as Error).message}\n`);
  process.exitCode = 1;
}

async function probe(): Promise<HostAbilities> {
  const version = /version (\d+)\./.exec(spawnSync(QEMU, ["--version"], { encoding: "utf8" }).stdout ?? "");
  if (!version) throw new Error(`${QEMU} does not run; is the package qemu-system-x86 installed?`);
  const mhz = /^cpu MHz\s*: (\d+)\.(\d{3})$/m.exec(readFileSync("/proc/cpuinfo", "utf8"));
  return {
    kvm: await tryKvm(),
    vsock: isUsable("/dev/vhost-vsock"),
    vhostNet: isUsable("/dev/vhost-net"),
    qemuMajor: Number(version[1]),
    ...(mhz ? { tscKhz: Number(mhz[1]) * 1000 + Number(mhz[2]) } : {}),
  };
}

function isUsable(device: string): boolean {
  try {
    accessSync(device, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function tryKvm(): Promise<HostAbilities["kvm"]> {
  const refuse = (why: string): Promise<HostAbilities["kvm"]> => Promise.resolve({ works: false, why });
  if (!existsSync("/dev/kvm")) return refuse("there is no /dev/kvm");
  if (!isUsable("/dev/kvm")) return refuse("/dev/kvm can't be opened by group kvm");
  const child = spawn(
    QEMU,
    [
      ...["-nodefaults", "-no-user-config", "-machine", "q35,smm=off", "-accel", "kvm", "-cpu", "host", "-m", "128"],
      ...["-drive", `if=pflash,unit=0,format=raw,readonly=on,file=${UEFI}`],
      ...["-display", "none", "-serial", "stdio", "-no-reboot"],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  return new Promise((resolve) => {
    let said = "";
    let complaint = "";
    const finish = (answer: HostAbilities["kvm"]): void => {
      clearTimeout(timer);
      child.kill("SIGKILL");
      resolve(answer);
    };
    const timer = setTimeout(
      () => finish({ works: false, why: `firmware that was started with it did not get on within ${BOOT_PATIENCE_MS / 1000} s` }),
      BOOT_PATIENCE_MS,
    );
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString("latin1");
      if (said.includes(BOOTED)) finish({ works: true });
    });
    child.stderr.on("data", (chunk: Buffer) => {
      complaint += chunk.toString();
    });
    child.on("error", (error) => finish({ works: false, why: error.message }));
    child.on("close", () => finish({ works: false, why: complaint.trim().split("\n")[0] || "QEMU ended at once" }));
  });
}
