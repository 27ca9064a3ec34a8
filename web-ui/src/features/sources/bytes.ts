/** Payloads as people have them at hand (words, hex of a data sheet, base64 of a network server) as the node takes
 * them. Pure. */

export const ENCODINGS = ["text", "hex", "base64"] as const;
export type Encoding = (typeof ENCODINGS)[number];

/** null where the text is not what it is said to be. */
export function toBase64(text: string, encoding: Encoding): string | null {
  if (encoding === "text") return encode(new TextEncoder().encode(text));
  const dense = text.replace(/\s+/g, "");
  if (encoding === "base64") {
    try {
      // Through the bytes, so that padding that was left away is there.
      return btoa(atob(dense.replaceAll("-", "+").replaceAll("_", "/")));
    } catch {
      return null;
    }
  }
  const digits = dense.replace(/^0x/i, "").replaceAll(/[:,-]/g, "");
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(digits)) return null;
  return encode(Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)));
}

/** In steps: `fromCharCode` takes a limited number of arguments. */
function encode(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}
