/**
 * `nginx -t` on copies. nginx opens more than it reads when it tests: sockets, logs, the pid file, scratch folders,
 * certificates, names of upstreams. All that depends on the machine is put aside in the copies, so that what is left
 * to complain about is the configuration itself.
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { problem, warning } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import type { Check, Found, Job, JobTools } from "./check.ts";
import { contentKey, includedFiles, intoScratch, outOfScratch, writeScratch } from "./config-copy.ts";
import type { MachineTree } from "./machine-tree.ts";
import { runProgram } from "./program.ts";

export const nginx: Check = {
  name: "nginx -t",
  program: "nginx",
  plan: (trees) => {
    const seen = new Set<string>();
    return trees.flatMap((tree) =>
      mainFiles(tree).flatMap((main): Job[] => {
        const files = includedFiles(tree, main, includesOf);
        const key = contentKey(tree, files);
        if (seen.has(key)) return [];
        seen.add(key);
        return [(tools) => test(tree, main, files, tools)];
      }),
    );
  },
};

/** Files that stand in for /etc/nginx/nginx.conf: bound over it by a unit, given by `-c`, or called so. */
function mainFiles(tree: MachineTree): string[] {
  const out = new Set<string>();
  for (const { path } of tree.files) {
    if (path.endsWith("/nginx.conf")) out.add(path);
    if (!path.startsWith("lib/systemd/system/")) continue;
    const text = tree.read(path) ?? "";
    for (const match of text.matchAll(
      /\/usr\/local\/([^\s:]+):\/etc\/nginx\/nginx\.conf|nginx\b.*\s-c\s*\/usr\/local\/(\S+)/g,
    )) {
      const named = match[1] ?? match[2] ?? "";
      if (tree.stat(named)?.type === "file") out.add(named);
    }
  }
  return [...out];
}

function includesOf(text: string): string[] {
  return [...text.matchAll(/^[^#\n]*?\binclude\s+["']?([^\s;"']+)/gm)].map((m) => m[1] ?? "");
}

const MAIN = "etc/nginx/nginx.conf";

/** Of /etc/nginx only these are used: they set parameters, and no site of this host. */
const STOCK = ["mime.types", "fastcgi_params", "fastcgi.conf", "proxy_params", "scgi_params", "uwsgi_params"];

async function test(
  tree: MachineTree,
  main: string,
  files: readonly string[],
  tools: JobTools,
): Promise<{ found: Found[]; skipped?: string }> {
  const scratch = tools.scratch();
  const texts = new Map(files.map((path) => [path, tree.read(path as never) ?? ""]));
  const all = [...texts.values()].join("\n");
  const tls = /^[^#\n]*\bssl_certificate/m.test(all) ? await certificate(scratch, tools) : undefined;
  if (tls === null) return { found: [], skipped: "it needs openssl for a certificate to test with" };
  const missing = [...all.matchAll(/^\s*load_module\s+["']?([^\s;"']+)/gm)]
    .map((m) => m[1] ?? "")
    .find((module) => modulePath(module) === undefined);
  if (missing !== undefined) return { found: [], skipped: `this host lacks ${missing}` };

  const upstreams = new Set([...all.matchAll(/\bupstream\s+(\S+)\s*\{/g)].map((m) => m[1] ?? ""));
  const listens = new Map<string, string>();
  for (const name of STOCK) {
    const stock = `/etc/nginx/${name}`;
    writeScratch(scratch, stock, existsSync(stock) ? readFileSync(stock, "utf8") : "");
  }
  for (const [path, text] of texts) {
    const copy = adapt(text, scratch, { listens, upstreams, tls });
    for (const match of copy.matchAll(
      new RegExp(`${scratch.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}/([^\\s;"']+)`, "g"),
    ))
      mkdirSync(dirname(join(scratch, match[1] ?? "")), { recursive: true });
    for (const wanted of includesOf(copy)) provide(wanted, scratch);
    writeScratch(scratch, `usr/local/${path}`, copy);
    // Where a unit binds it, because nginx looks relative includes up beside its main file.
    if (path === main) writeScratch(scratch, MAIN, copy);
  }
  const root = join(scratch, MAIN);
  const said = await runProgram(tools.find("nginx") ?? "nginx", [
    ...["-t", "-q", "-e", "stderr", "-p", `${scratch}/etc/nginx/`, "-c", root],
    ...(/^\s*pid\s/m.test(all) ? [] : ["-g", `pid ${scratch}/nginx.pid;`]),
  ]);
  return { found: said.stderr.split("\n").flatMap((line) => readMessage(line, tree, main, scratch)) };
}

/** A file that only the running machine has (`include /run/…`) must not be missed here. */
function provide(wanted: string, scratch: AbsPath): void {
  const runtime = ["run", "var", "etc", "srv", "tmp"].some((top) => wanted.startsWith(`${scratch}/${top}/`));
  if (runtime && !/[*?[]/.test(wanted) && !existsSync(wanted))
    writeScratch(scratch, wanted.slice(scratch.length), "");
}

interface Adaptation {
  /** Address → socket of the scratch folder: equal addresses stay equal. */
  readonly listens: Map<string, string>;
  readonly upstreams: ReadonlySet<string>;
  readonly tls: Certificate | undefined;
}

/** Line by line the same configuration, without what depends on a machine. */
function adapt(text: string, scratch: AbsPath, { listens, upstreams, tls }: Adaptation): string {
  const socketFor = (address: string): string => {
    const known = listens.get(address) ?? `unix:${scratch}/s${listens.size}`;
    listens.set(address, known);
    return known;
  };
  return intoScratch(text, scratch)
    .replace(/((?<=^|[;{}])[ \t]*)user\s+[^;\n]*;/gm, "$1")
    .replace(
      /((?<=^|[;{}])[ \t]*load_module\s+)["']?([^\s;"']+)["']?/gm,
      (_, head: string, module: string) => head + modulePath(module),
    )
    .replace(
      /((?<=^|[;{}])[ \t]*listen\s+)([^\s;]+)([^;\n]*);/gm,
      (all: string, head: string, address: string, rest: string) => {
        const port = /^(?:(?:[\w.*-]+|\[[0-9A-Fa-f:.]*\]):)?([0-9]{1,5})$/.exec(address)?.[1];
        const known = address.startsWith("unix:") || /^[0-9.]+\.[0-9.]+$|^\[[0-9A-Fa-f:.]+\]$/.test(address);
        if (!known && (port === undefined || Number(port) < 1 || Number(port) > 65535)) return all;
        return `${head}${socketFor(address)}${rest.replace(/\s(reuseport|ipv6only=\S+|so_keepalive=\S+|quic|fastopen=\S+|bind)/g, "")};`;
      },
    )
    .replace(
      /((?<=^|[;{}])[ \t]*[a-z_]*ssl_(?:certificate|certificate_key|trusted_certificate|client_certificate)\s+)([^;$\n]+);/gm,
      (_, head: string) => `${head}${/_key\s+$/.test(head) ? tls?.key : tls?.certificate};`,
    )
    .replace(/((?<=^|[;{}])[ \t]*)(ssl_dhparam|ssl_crl|ssl_password_file)\s+[^;\n]*;/gm, "$1")
    .replace(
      /(\b(?:proxy|grpc|uwsgi|scgi|fastcgi|memcached)_pass\s+(?:[a-z]+:\/\/)?)([A-Za-z][\w.-]*)(?=[:/;])(?!:\/\/)/g,
      (all: string, head: string, host: string) =>
        upstreams.has(host) || host === "unix" ? all : `${head}127.0.0.1`,
    )
    .replace(
      /((?<=^|[;{}])[ \t]*server\s+)([A-Za-z][\w.-]*)(?=[:;\s])/gm,
      (all: string, head: string, host: string) => (host === "unix" ? all : `${head}127.0.0.1`),
    );
}

/** Debian keeps modules in one of two folders; undefined if the module is not installed here. */
function modulePath(module: string): string | undefined {
  if (module.startsWith("/")) return existsSync(module) ? module : undefined;
  return ["/usr/share/nginx", "/usr/lib/nginx", "/etc/nginx"]
    .map((folder) => join(folder, module))
    .find((file) => existsSync(file));
}

interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

/** A certificate to test with; null if openssl is not there to make one. */
async function certificate(scratch: AbsPath, tools: JobTools): Promise<Certificate | null> {
  const openssl = tools.find("openssl");
  if (openssl === undefined) return null;
  const made = { certificate: join(scratch, "test.crt"), key: join(scratch, "test.key") };
  const said = await runProgram(openssl, [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"],
    ...["-subj", "/CN=test", "-keyout", made.key, "-out", made.certificate],
  ]);
  return said.status === 0 ? made : null;
}

function readMessage(line: string, tree: MachineTree, main: string, scratch: AbsPath): Found[] {
  const match = /^(?:nginx: )?(?:\S+ \S+ )?\[(emerg|warn|alert|crit|error)\](?: [0-9]+#[0-9]+:)? (.*)$/.exec(
    line,
  );
  if (!match) return [];
  const [, level, all = ""] = match;
  const at = /^(.*) in (\/\S+):([0-9]+)$/.exec(all);
  const inTree =
    at?.[2] === join(scratch, MAIN)
      ? main
      : at?.[2]?.startsWith(`${scratch}/usr/local/`)
        ? at[2].slice(`${scratch}/usr/local/`.length)
        : undefined;
  const place = inTree === undefined ? { file: main } : { file: inTree, line: Number(at?.[3]) };
  const message = outOfScratch(at && inTree !== undefined ? (at[1] ?? all) : all, scratch).replace(
    / on unix:\S+?,? ignored$/,
    "",
  );
  const say = level === "warn" ? warning : problem;
  return [
    {
      tree,
      diagnostic: say(
        "nginx-config",
        `nginx refuses the configuration: ${message}`.replace(
          level === "warn" ? "refuses" : "\0",
          "warns about",
        ),
        {
          place,
          help: "correct the line; nginx stops at the first one that it refuses",
        },
      ),
    },
  ];
}
