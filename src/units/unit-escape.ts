/**
 * String escaping for use in unit names, byte for byte what systemd-escape(1) does. Source: systemd.unit(5),
 * "String escaping for inclusion in unit names", and systemd's unit-name.c. Pure.
 */

const HEX = "0123456789abcdef";
const KEPT = /[A-Za-z0-9:_.]/;

/** Escapes any text: `/` becomes `-`, a leading `.` and all but `A-Za-z0-9:_.` become `\xNN` by UTF-8 byte. Pure. */
export function escapeName(text: string): string {
  let out = "";
  Buffer.from(text, "utf8").forEach((byte, index) => {
    const char = String.fromCharCode(byte);
    if (char === "/") out += "-";
    else if (byte < 0x80 && KEPT.test(char) && !(char === "." && index === 0)) out += char;
    else out += `\\x${HEX[byte >> 4]}${HEX[byte & 15]}`;
  });
  return out;
}

/** Undoes `escapeName`. Undefined: not a valid escape, or bytes that are no UTF-8 or hold a NUL. Pure. */
export function unescapeName(text: string): string | undefined {
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const char = text[i] ?? "";
    if (char === "-") bytes.push(0x2f);
    else if (char === "\\") {
      const hex = /^x([0-9A-Fa-f]{2})/.exec(text.slice(i + 1, i + 4));
      if (!hex) return undefined;
      bytes.push(Number.parseInt(hex[1] ?? "", 16));
      i += 3;
    } else {
      const point = text.codePointAt(i) ?? 0;
      bytes.push(...Buffer.from(String.fromCodePoint(point), "utf8"));
      if (point > 0xffff) i++;
    }
  }
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return undefined;
  }
}

/**
 * Escapes a path: slashes at the ends and doubled ones go, `.` components go, the root folder is `-`.
 * Undefined: the path has a `..` component. Pure.
 */
export function escapePath(path: string): string | undefined {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) return undefined;
  return parts.length === 0 ? "-" : escapeName(parts.join("/"));
}

/** Undoes `escapePath`, giving an absolute path. Undefined: not what escaping a path can give. Pure. */
export function unescapePath(text: string): string | undefined {
  if (text === "-") return "/";
  if (text === "") return undefined;
  const path = unescapeName(text);
  if (path === undefined) return undefined;
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) return undefined;
  return `/${path}`;
}
