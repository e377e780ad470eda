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

/** The longest line that the program prints names a path of 4,000 bytes, or says what a unit said. */
const MAX_LINE_BYTES = 1 << 20;
/** A unit file, a manifest, the state of all units; none comes near. */
const MAX_DATA_BYTES = 64 << 20;

/** Splits output into records as it arrives; incomplete ends wait for more. Each byte is looked at once. */
export class RecordReader {
  /** What no program of ours prints, in words; then nothing more is read. Undefined: all is well. */
  nonsense: string | undefined;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Bytes from which on a counted record is whole; 0: a line is awaited. */
  #wantedBytes = 0;

  /** Complete records in `chunk` together with what was left before. */
  push(chunk: Buffer): RemoteRecord[] {
    if (this.nonsense !== undefined) return [];
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
    if (this.#waitingBytes < this.#wantedBytes) return [];
    // What waited for its line's end has none in it.
    if (this.#wantedBytes === 0 && !chunk.includes(0x0a)) {
      if (this.#waitingBytes > MAX_LINE_BYTES) this.#refuse(`a line of more than ${MAX_LINE_BYTES} bytes`);
      return [];
    }
    const out: RemoteRecord[] = [];
    const rest = this.#split(Buffer.concat(this.#waiting), out);
    this.#waiting = rest.length === 0 ? [] : [rest];
    this.#waitingBytes = rest.length;
    return out;
  }

  /** Puts whole records of `text` into `out`; answers what is left, and sets how much of it is wanted. */
  #split(text: Buffer, out: RemoteRecord[]): Buffer {
    this.#wantedBytes = 0;
    for (let at = 0; ; ) {
      const end = text.indexOf(0x0a, at);
      if (end < 0) return text.subarray(at);
      if (end - at > MAX_LINE_BYTES) return this.#refuse(`a line of more than ${MAX_LINE_BYTES} bytes`);
      const [name = "", ...fields] = text.subarray(at, end).toString("utf8").split("\t");
      if (name !== "data" && name !== "file") {
        out.push({ name, fields });
        at = end + 1;
        continue;
      }
      const count = fields.at(-1) ?? "";
      const size = /^\d{1,9}$/.test(count) ? Number(count) : Number.NaN;
      if (!(size <= MAX_DATA_BYTES)) return this.#refuse(`a record of \`${count.slice(0, 40)}\` bytes`);
      // A newline follows the counted bytes.
      if (text.length < end + 1 + size + 1) {
        this.#wantedBytes = end - at + 1 + size + 1;
        return text.subarray(at);
      }
      if (text[end + 1 + size] !== 0x0a) return this.#refuse("a record that is longer than it says");
      out.push({ name, fields, data: Buffer.from(text.subarray(end + 1, end + 1 + size)) });
      at = end + 1 + size + 1;
    }
  }

  #refuse(what: string): Buffer {
    this.nonsense = what;
    return Buffer.alloc(0);
  }
}

/** All records of a finished output, up to where it makes no sense. Pure. */
export function parseRecords(output: Buffer): RemoteRecord[] {
  return new RecordReader().push(output);
}
