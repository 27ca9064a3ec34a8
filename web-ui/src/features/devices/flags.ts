/** What the node says about a reading besides its value (`flags`), in words. Pure. */

const words: Record<string, string> = {
  contradicts: "another value has the same time",
  suspect: "doubted by its source",
  retained: "a copy that a broker kept",
  redelivered: "sent again",
  unapproved: "device was not approved",
  "not-news": "rules did not look at it",
  "absurd-clock": "its own clock is wrong",
};

/** A word that this page does not know is shown as it is. */
export const flagWords = (flags: readonly string[]): string => flags.map((flag) => words[flag] ?? flag).join(", ");

const DOUBTS: readonly string[] = ["contradicts", "suspect"];

/** Those for which a value is to be looked at twice: another one of its time is there too, or its source doubts it. */
export const doubtsIn = (flags: readonly string[]): string[] => flags.filter((flag) => DOUBTS.includes(flag));
