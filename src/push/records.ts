/**
 * Reads what the remote program prints: one record a line, fields separated by tabs, and `data` records that carry a
 * counted number of bytes (docs/remote-protocol.md). The text is a machine's and untrusted. Pure.
 */

export interface RemoteRecord {
  readonly name: string;
  readonly fields: readonly string[];
  /** The counted bytes of a `data` or `file` record. */
  readonly data?: Buffer;
}

/** Splits output into records as it arrives; incomplete ends wait for more. */
export class RecordReader {
  private rest: Buffer = Buffer.alloc(0);

  /** Complete records in `chunk` together with what was left before. */
  push(chunk: Buffer): RemoteRecord[] {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    const out: RemoteRecord[] = [];
    for (;;) {
      const end = this.rest.indexOf(0x0a);
      if (end < 0) return out;
      const [name = "", ...fields] = this.rest.subarray(0, end).toString("utf8").split("\t");
      if (name !== "data" && name !== "file") {
        out.push({ name, fields });
        this.rest = this.rest.subarray(end + 1);
        continue;
      }
      const size = Number(fields.at(-1));
      if (!Number.isSafeInteger(size) || size < 0) {
        out.push({ name: "garbled", fields });
        this.rest = this.rest.subarray(end + 1);
        continue;
      }
      // A newline follows the counted bytes.
      if (this.rest.length < end + 1 + size + 1) return out;
      out.push({ name, fields, data: Buffer.from(this.rest.subarray(end + 1, end + 1 + size)) });
      this.rest = this.rest.subarray(end + 1 + size + 1);
    }
  }
}

/** All records of a finished output. Pure. */
export function parseRecords(output: Buffer): RemoteRecord[] {
  return new RecordReader().push(output);
}
