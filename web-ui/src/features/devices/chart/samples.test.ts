import { describe, expect, test } from "vitest";
import {
  gapsOf,
  indexOfPlace,
  isDoubted,
  meanOf,
  nearest,
  placeOf,
  type Sample,
  samplesOf,
  silentAfterMs,
  stretchesOf,
  summaryOf,
} from "./samples.ts";

const MINUTE = 60_000;
const sample = (minute: number, value = 1, width = 0): Sample => ({
  atMs: minute * MINUTE,
  endMs: minute * MINUTE + width,
  min: value,
  mean: value,
  max: value,
  count: 1,
  flags: [],
});
const at = (...minutes: number[]) => minutes.map((minute) => sample(minute));

test("readings and rollups become the same samples; a row that is neither is left out", () => {
  const time = "2026-11-21T10:00:00Z";
  expect(samplesOf({ resolution: "raw", points: [[time, 3.5]] })[0]).toMatchObject({ min: 3.5, max: 3.5, count: 1 });
  const [minute] = samplesOf({ resolution: "1m", points: [[time, 1, 2, 4, 12]] });
  expect(minute).toMatchObject({ min: 1, mean: 2, max: 4, count: 12 });
  expect((minute?.endMs ?? 0) - (minute?.atMs ?? 0)).toBe(MINUTE);
  expect(
    samplesOf({
      resolution: "1m",
      points: [
        ["soon", 1, 2, 4, 1],
        [time, 1],
        [time, null, 2, 4, 1],
      ],
    }),
  ).toEqual([]);
});

test("a reading keeps what is said about it, although one before it is left out", () => {
  const [first, second] = samplesOf({
    resolution: "raw",
    points: [
      ["soon", 1],
      ["2026-11-21T10:00:00Z", 2],
      ["2026-11-21T10:00:00Z", 3],
    ],
    flags: [[], ["contradicts"], ["redelivered"]],
  });
  expect(first?.flags).toEqual(["contradicts"]);
  expect([first, second].map((each) => each !== undefined && isDoubted(each))).toEqual([true, false]);
});

test("each of several samples with one time can be found again", () => {
  const samples = at(0, 1, 1, 1, 2);
  const places = samples.map((_, index) => placeOf(samples, index));
  expect(places.map((place) => place?.nth)).toEqual([0, 0, 1, 2, 0]);
  expect(places.map((place) => place && indexOfPlace(samples, place))).toEqual([0, 1, 2, 3, 4]);
  expect(indexOfPlace(at(1, 1), { atMs: MINUTE, nth: 2 })).toBe(-1);
  expect(placeOf(samples, 9)).toBeNull();
});

describe("a gap", () => {
  const limit = (samples: Sample[], width = 0, interval: number | null = null) =>
    silentAfterMs(samples, width, interval);

  test("is a stretch of more than one and a half of the intervals that the device states", () => {
    const samples = at(0, 1, 2, 5, 6);
    expect(gapsOf(samples, limit(samples, 0, 60), 6 * MINUTE)).toEqual([
      { fromMs: 2 * MINUTE, toMs: 5 * MINUTE, open: false },
    ]);
    expect(gapsOf(at(0, 1, 2.4), limit(samples, 0, 60), 3 * MINUTE)).toEqual([]);
  });

  test("of rollups begins where the last bucket ends, and a slow sensor's empty buckets are none", () => {
    const buckets = [0, 1, 2, 9].map((minute) => sample(minute, 1, MINUTE));
    expect(gapsOf(buckets, limit(buckets, MINUTE, 30), 10 * MINUTE)).toEqual([
      { fromMs: 3 * MINUTE, toMs: 9 * MINUTE, open: false },
    ]);
    const slow = [0, 10, 20, 30].map((minute) => sample(minute, 1, MINUTE));
    expect(gapsOf(slow, limit(slow, MINUTE, 600), 31 * MINUTE)).toEqual([]);
  });

  test("that has not ended lasts until now", () => {
    expect(gapsOf(at(0, 1, 2), limit([], 0, 60), 9 * MINUTE)).toEqual([
      { fromMs: 2 * MINUTE, toMs: 9 * MINUTE, open: true },
    ]);
  });

  test("is judged by the sensor's own rhythm where nobody says how often it sends", () => {
    const samples = at(0, 1, 2, 3, 30, 31, 32);
    expect(gapsOf(samples, limit(samples), 33 * MINUTE)).toHaveLength(1);
    expect(limit(at(0, 30))).toBeNull();
    expect(gapsOf(at(0, 30), null, 90 * MINUTE)).toEqual([]);
  });

  test("parts the line", () => {
    const samples = at(0, 1, 2, 5, 6);
    const gaps = gapsOf(samples, limit(samples, 0, 60), 20 * MINUTE);
    expect(stretchesOf(samples, gaps).map((stretch) => stretch.length)).toEqual([3, 2]);
    expect(stretchesOf([], [])).toEqual([]);
  });

  test("comes after the last of several values with one time, and none of them is cut off its line", () => {
    const samples = at(0, 1, 2, 2, 5, 5, 6);
    const gaps = gapsOf(samples, limit(samples, 0, 60), 6 * MINUTE);
    expect(stretchesOf(samples, gaps).map((stretch) => stretch.length)).toEqual([4, 3]);
  });
});

test("the mean counts each reading once, however they were rolled up", () => {
  const samples = [
    { ...sample(0, 10), count: 1 },
    { ...sample(1, 4), count: 3 },
  ];
  expect(summaryOf(samples)).toMatchObject({ count: 4, mean: 5.5, min: { min: 4 }, max: { max: 10 } });
  expect(summaryOf([])).toBeNull();
});

test.each([
  [-5, 0],
  [0.4, 0],
  [0.6, 1],
  [4, 2],
  [99, 3],
])("the sample nearest to minute %d is number %d", (minute, index) => {
  expect(nearest(at(0, 1, 3, 7), minute * MINUTE)).toBe(index);
});

test("of nothing, nothing is nearest", () => {
  expect(nearest([], 0)).toBe(-1);
});

test("a mean is not said more exactly than what it was made of", () => {
  expect(meanOf(3.418_734, 3.1, 3.52)).toBe(3.419);
  expect(meanOf(2 / 3, 0, 1)).toBe(0.7);
  expect(meanOf(101_325, 101_325, 101_325)).toBe(101_325);
});
