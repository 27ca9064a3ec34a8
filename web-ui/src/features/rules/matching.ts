/** Which of the channels that were heard a rule looks at: for units, and for names to choose from. Pure. */
import type { Series } from "../../api/types.ts";

/** As the node does: `*` stands for any characters, none included. In time that grows with the lengths, whatever the
 * pattern is. */
export function fits(pattern: string, name: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return pattern === name;
  const end = name.length - last.length;
  if (end < first.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

type Match = { device: string; channel: string } | null;

/** The unit of everything that matches; null where there are several, or none is known. */
export function unitOf(match: Match, series: readonly Series[] | undefined): string | null {
  if (match === null) return null;
  const units = new Set(
    series
      ?.filter((each) => fits(match.device.trim(), each.device) && fits(match.channel.trim(), each.channel))
      .map((each) => each.unit),
  );
  const [unit] = units;
  return units.size === 1 && unit ? unit : null;
}

const sorted = (names: Iterable<string>): string[] => [...new Set(names)].sort((a, b) => a.localeCompare(b));

export const deviceNames = (series: readonly Series[] | undefined): string[] =>
  sorted(series?.map((each) => each.device) ?? []);

/** Of the devices that match; of all where none does. */
export function channelNames(device: string, series: readonly Series[] | undefined): string[] {
  const matching = series?.filter((each) => fits(device.trim(), each.device)) ?? [];
  return sorted((matching.length > 0 ? matching : (series ?? [])).map((each) => each.channel));
}
