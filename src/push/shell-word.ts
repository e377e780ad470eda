/** Quoting for POSIX shells, here in messages and on machines in commands. Pure. */

/** One word, quoted only where needed. Pure. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
