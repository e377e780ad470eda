/**
 * The heads of HTTP answers as curl prints them before a body (`--include`): those of redirects, then the one that counts.
 * Pure; must not know what is fetched.
 */

export interface Head {
  readonly status: number;
  /** Of the body that follows; undefined: not said. */
  readonly length?: number;
  /** First byte of a 206. */
  readonly from?: number;
  /** Size of the whole, of a 206 or 416. */
  readonly whole?: number;
  /** What If-Range takes: a strong ETag, else the date of the last change; empty if there is neither (RFC 9110, 13.1.5). */
  readonly tag: string;
}

const MOST_BYTES = 1 << 18;

/** The answer's head and what follows it; undefined: there is more to come. Pure. */
export function readHeads(bytes: Buffer): { readonly head: Head; readonly rest: Buffer } | undefined {
  let at = 0;
  for (;;) {
    const end = bytes.indexOf("\r\n\r\n", at);
    if (end < 0 || end > MOST_BYTES) return undefined;
    const { head, isLast } = readHead(bytes.subarray(at, end).toString("latin1"));
    at = end + 4;
    if (isLast) return { head, rest: bytes.subarray(at) };
  }
}

function readHead(text: string): { readonly head: Head; readonly isLast: boolean } {
  const [first = "", ...lines] = text.split("\r\n");
  const status = Number(/^HTTP\/[\d.]+ (\d{3})/.exec(first)?.[1] ?? 0);
  const fields = new Map(
    lines.map((line) => {
      const at = line.indexOf(":");
      return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()] as const;
    }),
  );
  // Those are followed by another answer; a redirect without a place is the last.
  const isLast =
    !(status >= 100 && status < 200) && !(status >= 300 && status < 400 && fields.has("location"));
  const [, from, whole] = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(fields.get("content-range") ?? "") ?? [];
  const length = /^\d+$/.exec(fields.get("content-length") ?? "")?.[0];
  // A body in another coding has another length than the file.
  const isPlain = !fields.has("content-encoding");
  const strong = /^"[!-~]*"$/.exec(fields.get("etag") ?? "")?.[0];
  return {
    isLast,
    head: {
      status,
      tag: strong ?? fields.get("last-modified") ?? "",
      ...(length !== undefined && isPlain ? { length: Number(length) } : {}),
      ...(from !== undefined ? { from: Number(from) } : {}),
      ...(whole !== undefined && whole !== "*" ? { whole: Number(whole) } : {}),
    },
  };
}
