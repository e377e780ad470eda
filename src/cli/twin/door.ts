/**
 * The way to a twin that is kept: a port of this host's loopback that leads into its network, and the ssh files for it, which
 * lie in the twin's own memory and end with it. Must not know how twins boot.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { Machine } from "../../project/project.ts";
import { printErr } from "../print.ts";
import { KEPT_FILE, type Kept } from "./handover.ts";

const POLL_MS = 50;

/** A listening port and what leads through it. */
export interface Door {
  /** Waits for the twin to be up, then says how it is reached. */
  readonly watch: (firstPid: () => number | undefined) => void;
  close(): void;
}

/** Listens on a free port of 127.0.0.1; connections end at once until a twin is there. */
export async function openDoor(
  { name, host }: Pick<Machine, "name" | "host">,
  quiet: boolean,
): Promise<Door> {
  let lead: ((socket: Socket) => void) | undefined;
  const server = createServer((socket) => (lead ? lead(socket) : socket.destroy()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  let timer: NodeJS.Timeout | undefined;
  return {
    watch(firstPid) {
      timer = setInterval(() => {
        const pid = firstPid();
        const file = `/proc/${pid}/root${KEPT_FILE}`;
        if (pid === undefined || !existsSync(file)) return;
        clearInterval(timer);
        const kept = JSON.parse(readFileSync(file, "utf8")) as Kept;
        lead = (socket) => connect(socket, pid, kept.address);
        const config = writeSshFiles(pid, port, [name, host], kept);
        if (quiet) return;
        printErr(`${name}: kept until Ctrl-C; from another terminal:`);
        printErr(`  ssh -F ${config} ${host}`);
        printErr(`  labctl push ${name} --ssh-config ${config}`);
      }, POLL_MS);
    },
    close() {
      clearInterval(timer);
      server.close();
    },
  };
}

/** Bytes both ways, by a program that stands in the twin's network. */
function connect(socket: Socket, pid: number, address: string): void {
  const child = spawn("nsenter", ["-t", `${pid}`, "-n", "socat", "-", `TCP:${address}:22`], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  socket.pipe(child.stdin);
  child.stdout.pipe(socket);
  // Either end may go away at any time; the other one then does, too.
  for (const stream of [child.stdin, child.stdout]) stream.on("error", () => socket.destroy());
  child.on("error", () => socket.destroy());
  socket.on("error", () => child.kill());
  socket.on("close", () => child.kill());
}

/** The path of a configuration that knows the twin by the machine's names. */
function writeSshFiles(pid: number, port: number, names: readonly string[], kept: Kept): string {
  const folder = `/proc/${pid}/root/run/labctl-twin`;
  mkdirSync(folder, { mode: 0o700 });
  const hosts = [...new Set(names)];
  writeFileSync(
    `${folder}/known_hosts`,
    [...hosts, "127.0.0.1"].map((n) => `${n},[${n}]:${port} ${kept.hostKey}\n`).join(""),
  );
  writeFileSync(
    `${folder}/ssh_config`,
    [
      `Host ${hosts.join(" ")}`,
      "  HostName 127.0.0.1",
      `  Port ${port}`,
      "  User root",
      `  IdentityFile /proc/${pid}/root${kept.identityFile}`,
      "  IdentitiesOnly yes",
      `  UserKnownHostsFile ${folder}/known_hosts`,
      "  GlobalKnownHostsFile /dev/null",
      "  StrictHostKeyChecking yes",
      "",
    ].join("\n"),
  );
  return `${folder}/ssh_config`;
}
