/** How far back a chart looks, and how finely: a thousand points or so, whatever the span. Pure. */
import type { Resolution } from "../../../api/types.ts";

export const SPANS = ["1h", "24h", "7d", "30d", "all"] as const;
export type Span = (typeof SPANS)[number];

const HOUR_MS = 3_600_000;

/** null: from the first reading on. */
const LENGTH_MS: Record<Span, number | null> = {
  "1h": HOUR_MS,
  "24h": 24 * HOUR_MS,
  "7d": 7 * 24 * HOUR_MS,
  "30d": 30 * 24 * HOUR_MS,
  all: null,
};

const RESOLUTION: Record<Span, Resolution> = { "1h": "raw", "24h": "1m", "7d": "15m", "30d": "1h", all: "1h" };

/** What one row of an answer stands for; 0 for readings themselves. */
const WIDTH_MS: Record<Resolution, number> = { raw: 0, "1m": 60_000, "15m": 900_000, "1h": HOUR_MS };

export const lengthMs = (span: Span): number | null => LENGTH_MS[span];
export const resolutionOf = (span: Span): Resolution => RESOLUTION[span];
export const widthMs = (resolution: Resolution): number => WIDTH_MS[resolution];

export const isFinerThanQuarters = (span: Span): boolean => widthMs(resolutionOf(span)) < widthMs("15m");

export const isSpan = (word: string | null): word is Span => SPANS.some((span) => span === word);

/** How often the newest readings are asked for: what is drawn of a month does not move in seconds. */
export const refreshMs = (span: Span): number => (span === "1h" ? 5_000 : 60_000);
