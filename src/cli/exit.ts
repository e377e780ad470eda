/** Exit codes; the table in README.md says the same. */
export const EXIT = {
  /** Done, or nothing to do. */
  done: 0,
  failed: 1,
  /** `plan`, `--dry-run` and live verification: there are changes. */
  changes: 2,
  /** Some machines failed and others did not. */
  partly: 3,
  /** Wrong usage (EX_USAGE of sysexits.h). */
  usage: 64,
  /** Ended by Ctrl-C (128 + SIGINT). */
  interrupted: 130,
} as const;
