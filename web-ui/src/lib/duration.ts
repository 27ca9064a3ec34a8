/** Durations between the whole seconds of the node and what people type and read. */

const SECONDS_IN = { s: 1, min: 60, h: 3_600, d: 86_400 } as const;

export type DurationUnit = keyof typeof SECONDS_IN;

/** From the longest to the shortest: the order in which a duration is said. */
export const DURATION_UNITS = ["d", "h", "min", "s"] as const satisfies readonly DurationUnit[];

/** As it stands in a form. */
export interface Duration {
  amount: string;
  unit: DurationUnit;
}

/** In the largest unit that leaves nothing over, so that what was typed as 15 min is not shown as 900 s. */
export function durationOf(seconds: number): Duration {
  if (seconds === 0) return { amount: "0", unit: "s" };
  const unit = DURATION_UNITS.find((each) => seconds % SECONDS_IN[each] === 0) ?? "s";
  return { amount: String(seconds / SECONDS_IN[unit]), unit };
}

/** Whole seconds; null where the text is no duration. Half an hour may be typed as 0.5 h or 0,5 h. */
export function secondsOf({ amount, unit }: Duration): number | null {
  const text = amount.trim().replace(",", ".");
  const seconds = text === "" ? Number.NaN : Number(text) * SECONDS_IN[unit];
  const whole = Math.round(seconds);
  return Math.abs(seconds - whole) < 1e-6 && whole >= 0 ? whole : null;
}

/** In words of at most two units: `1 h 30 min`. The rest of longer ones is left away. */
export function durationText(seconds: number): string {
  if (seconds < SECONDS_IN.min) return `${Number(seconds.toPrecision(3))} s`;
  const parts: string[] = [];
  let left = Math.round(seconds);
  for (const unit of DURATION_UNITS) {
    const count = Math.floor(left / SECONDS_IN[unit]);
    left -= count * SECONDS_IN[unit];
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}
