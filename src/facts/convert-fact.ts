/** Turns a fact's text into the type that its layer declares, or says why it can't. Pure. */
import type { Result } from "../diagnostics.ts";
import { failure, problem, success } from "../diagnostics.ts";
import type { FactDeclaration, FactType } from "../project/project.ts";
import type { FactOrigin, FactValue } from "./fact.ts";

/** `node:net` takes milliseconds to load, which each build of one edited file would pay for nothing. */
const isIP = (text: string): number => process.getBuiltinModule("node:net").isIP(text);

const EXPECTED: Readonly<Record<FactType, string>> = {
  string: "text",
  int: "a whole number",
  bool: "true or false",
  port: "a port from 1 to 65535",
  ip: "an IPv4 or IPv6 address",
  cidr: "an address with a prefix length, such as 10.0.0.0/24",
  list: "a list: text with commas or blanks between, or a JSON array",
  json: "JSON",
};

/** The value as its type says; a fact without a declared type stays as it was read. Pure. */
export function convertFact(
  name: string,
  origin: FactOrigin,
  declaration: FactDeclaration | undefined,
  machine: string,
): Result<FactValue> {
  if (!declaration?.type) return success(origin.value);
  const converted = convert(origin.value, declaration.type);
  if (converted !== undefined) return success(converted);
  const from = origin.place ?? { file: "--fact" };
  return failure(
    problem("fact-type", `fact \`${name}\` of machine \`${machine}\` is not ${EXPECTED[declaration.type]}`, {
      place: from,
      notes: [`found: ${JSON.stringify(origin.value)}`, `its type is declared in ${declaration.place.file}`],
      help: "correct the value",
    }),
  );
}

function convert(value: FactValue, type: FactType): FactValue | undefined {
  const text =
    typeof value === "string" ? value.trim() : typeof value === "number" ? String(value) : undefined;
  switch (type) {
    case "string":
      return typeof value === "string" ? value : text;
    case "int":
      return text !== undefined && /^[+-]?\d{1,15}$/.test(text) ? Number(text) : undefined;
    case "port":
      return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65535
        ? Number(text)
        : undefined;
    case "bool":
      if (typeof value === "boolean") return value;
      return text === "true" ? true : text === "false" ? false : undefined;
    case "ip":
      return text !== undefined && isIP(text) !== 0 ? text : undefined;
    case "cidr": {
      const match = /^([^/]+)\/(\d{1,3})$/.exec(text ?? "");
      const family = isIP(match?.[1] ?? "");
      return family !== 0 && Number(match?.[2]) <= (family === 4 ? 32 : 128) ? text : undefined;
    }
    case "list":
      if (Array.isArray(value)) return value;
      return text === undefined ? undefined : text.split(/[\s,]+/).filter((item) => item !== "");
    case "json":
      if (typeof value !== "string") return value;
      try {
        return JSON.parse(value) as FactValue;
      } catch {
        return undefined;
      }
  }
}
