/**
 * The remote program, loaded on a machine before it is known what it shall do there: a channel whose bash has read all of
 * it, and waits for a verb. A commit then begins where another would still be read. Must not know what verbs mean.
 */
import { PassThrough } from "node:stream";
import type { Result } from "../diagnostics.ts";
import { remoteProgram } from "./remote/program.ts";
import { commandLine, MAX_ANSWER_BYTES } from "./session.ts";
import { needsSudo } from "./sudo.ts";
import type { ExecResult, Transport, WaitingChannel } from "./transport.ts";

/**
 * Has a connection's next call of this verb begin at once. Nothing where a password may have to be asked for, or where one
 * waits already. Effect: a channel.
 */
export function openStandby(transport: Transport, verb: "commit" | "confirm"): void {
  if (needsSudo(transport) || transport.isLost() || transport.standby?.isWaiting) return;
  transport.standby = new Standby(transport, verb);
}

class Standby implements WaitingChannel {
  readonly verb: string;
  readonly #input = new PassThrough();
  readonly #result: Promise<Result<ExecResult>>;
  #onStdout: (chunk: Buffer) => unknown = () => true;
  #ended = false;

  constructor(transport: Transport, verb: string) {
    this.verb = verb;
    const program = remoteProgram(verb);
    this.#input.write(program);
    this.#result = transport.exec(commandLine([], program, "standby", []), {
      stdin: this.#input,
      maxStdoutBytes: MAX_ANSWER_BYTES,
      onStdout: (chunk) => this.#onStdout(chunk),
    });
    this.#result.then(() => {
      this.#ended = true;
    });
  }

  get isWaiting(): boolean {
    return !this.#ended && !this.#input.writableEnded;
  }

  run(
    args: readonly string[],
    data: string | Buffer,
    onStdout: (chunk: Buffer) => unknown,
  ): Promise<Result<ExecResult>> | undefined {
    if (!this.isWaiting) return undefined;
    this.#onStdout = onStdout;
    this.#input.write(`${[this.verb, ...args].join("\t")}\n`);
    this.#input.end(data);
    return this.#result;
  }

  drop(): void {
    // Without a verb it ends.
    this.#input.end();
  }
}
