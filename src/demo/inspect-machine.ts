/**
 * What the demo looks at on the machine, past labctl: the page that nginx serves, and which services were started anew.
 * Must not change anything there.
 */
import { get } from "node:http";
import type { Machine } from "../twin/machine.ts";

export interface Page {
  readonly status: number;
  /** Content of `<title>`, empty if there is none. */
  readonly title: string;
  readonly contentType: string;
}

/** Fetches `/` from the machine's port 80, from outside. Rejects where nothing answers within 5 s. */
export function fetchPage(address: string): Promise<Page> {
  return new Promise((resolve, reject) => {
    const request = get({ host: address, path: "/", timeout: 5000 }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          title: /<title>([^<]*)<\/title>/.exec(body)?.[1] ?? "",
          contentType: response.headers["content-type"] ?? "",
        }),
      );
    });
    request.on("timeout", () => request.destroy(new Error(`http://${address}/ does not answer`)));
    request.on("error", reject);
  });
}

/** Unit to InvocationID, which systemd makes anew at every start (systemd.exec(5)). */
export type Invocations = ReadonlyMap<string, string>;

/** Every service that runs now, but for the login by which labctl came. */
export async function readInvocations(machine: Machine): Promise<Invocations> {
  const asked = await machine.runInside([
    "systemctl",
    "show",
    "--property=Id,InvocationID,SubState",
    "--state=active",
    "*.service",
  ]);
  const out = new Map<string, string>();
  for (const block of asked.stdout.split("\n\n")) {
    const id = /^Id=(.+)$/m.exec(block)?.[1];
    const invocation = /^InvocationID=([0-9a-f]{32})$/m.exec(block)?.[1];
    const runs = /^SubState=running$/m.test(block);
    if (id && invocation && runs && !/^(user@|labctl-)/.test(id)) out.set(id, invocation);
  }
  return out;
}

/** What became of services between two looks; names sorted. Pure. */
export function compareInvocations(
  before: Invocations,
  after: Invocations,
): { readonly restarted: readonly string[]; readonly untouched: number } {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  const restarted = names.filter((name) => before.get(name) !== after.get(name));
  return { restarted, untouched: names.length - restarted.length };
}

/** systemd's own verdict on a service's sandbox, 0 (closed) to 10 (open): `1.2 OK`. Undefined: it gave none. */
export async function readExposure(machine: Machine, unit: string): Promise<string | undefined> {
  const asked = await machine.runInside(["systemd-analyze", "security", "--no-pager", unit]);
  return /exposure level for \S+: ([\d.]+ \w+)/.exec(asked.stdout)?.[1];
}
