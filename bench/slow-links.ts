/**
 * Links that take their time: a relay before each machine's sshd that holds back every piece in both directions, for hosts
 * whose kernel has no netem. Must not know what is measured.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { BED_ADDRESS, type Bed } from "../src/twin/bed.ts";

export interface SlowLinks {
  /** As the bed's own, but by the relays. */
  readonly sshConfigFile: string;
  close(): void;
}

/**
 * A relay for each machine that runs, which answers and asks `delayMs` later: a round trip takes twice as long more. Connecting
 * itself does not, since the relay takes connections at once. Its work is done by this process.
 */
export async function openSlowLinks(bed: Bed, delayMs: number): Promise<SlowLinks> {
  const servers: Server[] = [];
  const blocks: string[] = [];
  for (const machine of bed.machines) {
    const server = createServer((near) => {
      const far = connect({ host: machine.address, port: machine.port, noDelay: true });
      near.setNoDelay(true);
      pass(near, far, delayMs);
      pass(far, near, delayMs);
    });
    await new Promise<void>((resolve) => server.listen(0, BED_ADDRESS, resolve));
    servers.push(server);
    const { port } = server.address() as AddressInfo;
    blocks.push(
      `Host ${machine.name}\n  HostName ${BED_ADDRESS}\n  Port ${port}\n  HostKeyAlias ${machine.name}\n`,
    );
  }
  const sshConfigFile = `${bed.sshConfigFile}-slow`;
  // ssh_config(5): the first value counts.
  writeFileSync(sshConfigFile, blocks.join("") + readFileSync(bed.sshConfigFile, "utf8"));
  return {
    sshConfigFile,
    close: () => {
      for (const server of servers) server.close();
    },
  };
}

/** Timers of one length fire in the order in which they were set. */
function pass(from: Socket, to: Socket, delayMs: number): void {
  from.on("data", (piece) => setTimeout(() => to.write(piece), delayMs));
  from.on("end", () => setTimeout(() => to.end(), delayMs));
  from.on("error", () => to.destroy());
}
