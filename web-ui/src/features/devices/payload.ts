/** Payloads between what a person types and what a device gets. Pure. */

/** JSON where it is JSON; else the words themselves, so that `open` needs no quotes. */
export function parsePayload(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text.trim();
  }
}
