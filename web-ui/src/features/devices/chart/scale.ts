/** Axes: where ticks stand and what they say. Pure. */

export interface Tick {
  at: number;
  text: string;
}

/** The most ticks of the axis of values: at 240 px more would touch. */
const VALUE_TICKS_MAX = 7;

/** Numbers that people count in, with the smallest step that needs no more ticks than there may be. */
export function valueTicks(low: number, high: number): Tick[] {
  const rough = (high - low) / (VALUE_TICKS_MAX - 1);
  if (!(rough > 0) || !Number.isFinite(rough)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((times) => times * power >= rough) ?? 10);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step);
  // A step is a digit of its own: its multiples are rounded to it, so that 0.30000000000000004 is 0.3.
  const digits = Math.max(0, Math.min(20, -Math.floor(Math.log10(step))));
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const at = (first + index) * step;
    const large = Math.abs(at) >= 1e7;
    return { at, text: large ? at.toExponential(1) : String(Number(at.toFixed(digits))) };
  });
}

/** Room above and below, and something to see of a value that never changes. */
export function valueRange(min: number, max: number): [number, number] {
  const room = max > min ? (max - min) * 0.06 : Math.max(Math.abs(max) * 0.05, 0.5);
  return [min - room, max + room];
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE),
  ...[1, 2, 3, 6, 12].map((hours) => hours * HOUR),
  ...[1, 2, 3, 7, 14, 28, 91, 182, 364].map((days) => days * DAY),
];

const twoDigits = (value: number) => String(value).padStart(2, "0");

/** Full hours and days of this device's own time; at most `max` of them. */
export function timeTicks(fromMs: number, toMs: number, max: number): Tick[] {
  const span = toMs - fromMs;
  if (!(span > 0)) return [];
  const step = STEPS.find((each) => span / each <= max) ?? Math.ceil(span / max / DAY) * DAY;
  // The offset of one end for all: a tick across the change of summer time stands an hour aside, and says so itself.
  const offset = new Date(toMs).getTimezoneOffset() * MINUTE;
  const ticks: Tick[] = [];
  for (let at = Math.ceil((fromMs - offset) / step) * step + offset; at <= toMs; at += step)
    ticks.push({ at, text: timeText(at, step) });
  return ticks;
}

function timeText(atMs: number, step: number): string {
  const date = new Date(atMs);
  const midnight = date.getHours() === 0 && date.getMinutes() === 0;
  if (step >= DAY || midnight) return date.toLocaleDateString(undefined, { day: "numeric", month: "short" });
  return `${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}`;
}
