/** Ages in words. A time in the future means that some node's clock is ahead; that is said, never hidden as "now". */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Clocks of nodes differ by a little; within this a future time counts as now. */
const AHEAD_TOLERANCE_MS = 30 * SECOND;

function span(ms: number): string {
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  if (ms < DAY) {
    const hours = Math.floor(ms / HOUR);
    const minutes = Math.floor((ms - hours * HOUR) / MINUTE);
    return minutes === 0 ? `${hours} h` : `${hours} h ${minutes} min`;
  }
  const days = Math.floor(ms / DAY);
  const hours = Math.floor((ms - days * DAY) / HOUR);
  return hours === 0 || days > 6 ? `${days} d` : `${days} d ${hours} h`;
}

/** `at` is RFC 3339; `nowMs` is the node's clock. */
export function formatAge(at: string | null | undefined, nowMs: number): string {
  const thenMs = at === null || at === undefined ? Number.NaN : Date.parse(at);
  if (Number.isNaN(thenMs)) return "age unknown";
  const ageMs = nowMs - thenMs;
  if (ageMs < -AHEAD_TOLERANCE_MS) return `${span(-ageMs)} in the future (a clock is wrong)`;
  if (ageMs < 5 * SECOND) return "just now";
  return `${span(ageMs)} ago`;
}

/** Where nobody has said how often a sensor sends, one that has been silent this long is not current any more. */
const STALE_DEFAULT_MS = 10 * MINUTE;

/** Whether a value is too old to be acted on as the present state, as far as its age alone can tell. An unknown age is
 * stale. The node knows better where it knows how often a sensor should send. */
export function isStale(at: string | null | undefined, nowMs: number): boolean {
  const thenMs = at === null || at === undefined ? Number.NaN : Date.parse(at);
  return Number.isNaN(thenMs) || nowMs - thenMs > STALE_DEFAULT_MS;
}
