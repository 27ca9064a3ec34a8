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

/** So much of a payload shows what it is; the rest is in the API. */
const SHOWN_BYTES_MAX = 200;

interface Preview {
  encoding: "text" | "hex";
  text: string;
  /** There is more of it. */
  cut: boolean;
}

/** The beginning of a payload as a person can read it: as words where it is UTF-8 without control characters. */
export function preview(base64: string): Preview {
  const digits = Math.ceil(SHOWN_BYTES_MAX / 3) * 4;
  // The last digits may hold a byte or two more than are shown.
  const beginning = atob(base64.slice(0, digits));
  const cut = beginning.length > SHOWN_BYTES_MAX || base64.length > digits;
  const bytes = Uint8Array.from(beginning.slice(0, SHOWN_BYTES_MAX), (one) => one.charCodeAt(0));
  try {
    // As of a stream: a character that the cut went through is left away.
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: cut });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what no text holds
    if (!/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text)) return { encoding: "text", text, cut };
  } catch {
    // Not UTF-8.
  }
  const text = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { encoding: "hex", text, cut };
}

/** In steps: `fromCharCode` takes a limited number of arguments. */
function encode(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}
