/** What a chart draws: samples in the order of their times, the gaps between them, and what they come to. Pure.
 *
 * Invariant: a line joins two samples only where no gap lies between them. */
import type { Readings, Resolution } from "../../../api/types.ts";
import { doubtsIn } from "../flags.ts";
import { widthMs } from "./span.ts";

/** A reading, or what all readings of a minute, a quarter or an hour come to. */
export interface Sample {
  /** Where it begins; the time itself of a reading. */
  atMs: number;
  endMs: number;
  min: number;
  mean: number;
  max: number;
  count: number;
  /** What is to be known about a reading besides its value, in the node's words; nothing of rollups. */
  flags: readonly string[];
}

/** One sample among those of its time: of values that contradict each other each can be looked at. */
export interface Place {
  atMs: number;
  /** Counted from 0 among the samples of that time. */
  nth: number;
}

export interface Gap {
  fromMs: number;
  toMs: number;
  /** It has not ended: nothing came up to now. */
  open: boolean;
}

/** A reading may come half an interval late before it counts as missing, as the node has it (`store/…/gaps.rs`). */
const LATE = 1.5;
/** Where nobody says how often a sensor sends, its own rhythm stands for it: three times the median distance is
 * silence. */
const SILENT_TIMES = 3;

const isNumber = (value: unknown): value is number => typeof value === "number";

const atOf = (at: unknown): number => (typeof at === "string" ? Date.parse(at) : Number.NaN);

/** Rows that are not what this page knows are left out rather than drawn wrongly. */
export function samplesOf(answer: Pick<Readings, "points" | "resolution" | "flags">): Sample[] {
  if (answer.resolution !== "raw") return samplesOfRows(answer.points, widthMs(answer.resolution as Resolution) ?? 0);
  return answer.points.flatMap((point, index): Sample[] => {
    const [at, value] = point as unknown[];
    const atMs = atOf(at);
    if (Number.isNaN(atMs) || !isNumber(value)) return [];
    const flags = answer.flags?.[index] ?? [];
    return [{ atMs, endMs: atMs, min: value, mean: value, max: value, count: 1, flags }];
  });
}

/** Rows of `[at, min, mean, max, count]`, each for so long from `at` on. */
export function samplesOfRows(rows: readonly unknown[], width: number): Sample[] {
  return rows.flatMap((row): Sample[] => {
    const [at, min, mean, max, count] = row as unknown[];
    const atMs = atOf(at);
    if (Number.isNaN(atMs) || !isNumber(min) || !isNumber(mean) || !isNumber(max) || !isNumber(count)) return [];
    return [{ atMs, endMs: atMs + width, min, mean, max, count, flags: [] }];
  });
}

export const isDoubted = (sample: Sample): boolean => doubtsIn(sample.flags).length > 0;

export const countFlagged = (samples: readonly Sample[], flag: string): number =>
  samples.reduce((count, sample) => count + (sample.flags.includes(flag) ? 1 : 0), 0);

/** Which sample stands at an index, also after others came or went. */
export function placeOf(samples: readonly Sample[], index: number): Place | null {
  const atMs = samples[index]?.atMs;
  if (atMs === undefined) return null;
  let first = index;
  while (samples[first - 1]?.atMs === atMs) first -= 1;
  return { atMs, nth: index - first };
}

/** Where it stands now; -1 where it is not there any more. */
export function indexOfPlace(samples: readonly Sample[], { atMs, nth }: Place): number {
  const first = samples.findIndex((sample) => sample.atMs === atMs);
  return first >= 0 && samples[first + nth]?.atMs === atMs ? first + nth : -1;
}

/** The time between the beginnings of two samples past which something is missing; null where there is no telling. */
export function silentAfterMs(
  samples: readonly Sample[],
  width: number,
  expectedIntervalS: number | null,
): number | null {
  if (expectedIntervalS !== null) return LATE * expectedIntervalS * 1_000 + width;
  const distances = samples.slice(1).map((sample, index) => sample.atMs - (samples[index]?.atMs ?? sample.atMs));
  if (distances.length < 2) return null;
  distances.sort((a, b) => a - b);
  const median = distances[Math.floor(distances.length / 2)] ?? 0;
  return Math.max(median, 1) * SILENT_TIMES;
}

export function gapsOf(samples: readonly Sample[], silentAfter: number | null, nowMs: number): Gap[] {
  if (silentAfter === null) return [];
  const gaps: Gap[] = [];
  let before: Sample | undefined;
  for (const sample of samples) {
    if (before !== undefined && sample.atMs - before.atMs > silentAfter)
      gaps.push({ fromMs: before.endMs, toMs: sample.atMs, open: false });
    before = sample;
  }
  if (before !== undefined && nowMs - before.atMs > silentAfter)
    gaps.push({ fromMs: before.endMs, toMs: nowMs, open: true });
  return gaps;
}

/** Stretches without a gap in them. */
export function stretchesOf(samples: readonly Sample[], gaps: readonly Gap[]): Sample[][] {
  const ends = new Set(gaps.map((gap) => gap.fromMs));
  const stretches: Sample[][] = [];
  let current: Sample[] = [];
  for (const [index, sample] of samples.entries()) {
    current.push(sample);
    // Of several with one time the gap comes after the last.
    if (ends.has(sample.endMs) && samples[index + 1]?.atMs !== sample.atMs) {
      stretches.push(current);
      current = [];
    }
  }
  if (current.length > 0) stretches.push(current);
  return stretches;
}

export interface Summary {
  count: number;
  min: Sample;
  max: Sample;
  mean: number;
}

/** null where there is nothing. The mean counts each reading once. */
export function summaryOf(samples: readonly Sample[]): Summary | null {
  const [first] = samples;
  if (first === undefined) return null;
  let [min, max, count, sum] = [first, first, 0, 0];
  for (const sample of samples) {
    if (sample.min < min.min) min = sample;
    if (sample.max > max.max) max = sample;
    count += sample.count;
    sum += sample.mean * sample.count;
  }
  return { count, min, max, mean: sum / count };
}

const decimals = (value: number): number => String(Number(value.toPrecision(6))).split(".")[1]?.length ?? 0;

/** A mean with one decimal more than what it was made of: the rest is arithmetic, not measurement. */
export function meanOf(mean: number, ...of: number[]): number {
  if (of.every((value) => value === mean)) return mean;
  return Number(mean.toFixed(Math.min(Math.max(...of.map(decimals)) + 1, 20)));
}

/** The place of the sample whose time is nearest; -1 where there is none. */
export function nearest(samples: readonly Sample[], atMs: number): number {
  let [low, high] = [0, samples.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((samples[middle]?.atMs ?? 0) < atMs) low = middle + 1;
    else high = middle;
  }
  const [before, after] = [samples[low - 1], samples[low]];
  if (after === undefined) return samples.length - 1;
  return before !== undefined && atMs - before.atMs < after.atMs - atMs ? low - 1 : low;
}
