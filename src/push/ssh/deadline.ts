/** The time that connecting may take. Must not know what is waited for. */

/** Time left to connect; stands still while a person is being asked. */
export class Deadline {
  #leftMs: number;
  #since = Date.now();
  #paused = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #expired: () => void;

  constructor(timeoutMs: number, expired: () => void) {
    this.#leftMs = timeoutMs;
    this.#expired = expired;
    this.#timer = setTimeout(expired, timeoutMs);
  }

  /** Waits for a person's answer off the clock. */
  async pause<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#paused++ === 0 && this.#timer) {
      clearTimeout(this.#timer);
      this.#leftMs -= Date.now() - this.#since;
    }
    try {
      return await ask();
    } finally {
      if (--this.#paused === 0 && this.#timer) {
        this.#since = Date.now();
        this.#timer = setTimeout(this.#expired, Math.max(0, this.#leftMs));
      }
    }
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
