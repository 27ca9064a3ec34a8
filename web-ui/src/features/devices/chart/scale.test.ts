import { expect, test } from "vitest";
import { timeTicks, valueRange, valueTicks } from "./scale.ts";

const texts = (low: number, high: number) => valueTicks(low, high).map((tick) => tick.text);

test("values are counted in ones, twos and fives", () => {
  expect(texts(0, 10)).toEqual(["0", "2", "4", "6", "8", "10"]);
  expect(texts(0.05, 0.43)).toEqual(["0.1", "0.2", "0.3", "0.4"]);
  expect(texts(-1_200, 900)).toEqual(["-1000", "-500", "0", "500"]);
});

test("what cannot be drawn has no ticks instead of a million", () => {
  expect(texts(3, 3)).toEqual([]);
  expect(texts(0, Number.POSITIVE_INFINITY)).toEqual([]);
  for (const [low, high] of [
    [0, 1e300],
    [1e-300, 3e-300],
    [1e16, 1e16 + 4],
  ] as const)
    expect(valueTicks(low, high).length).toBeLessThanOrEqual(7);
});

test("a value that never changes lies in the middle of something", () => {
  expect(valueRange(4, 4)).toEqual([3.5, 4.5]);
  expect(valueRange(0, 10)).toEqual([-0.6, 10.6]);
});

test("times are full hours and days of this device, and no more than there is room for", () => {
  const from = new Date(2026, 10, 21, 9, 7).getTime();
  const hour = timeTicks(from, from + 3_600_000, 6);
  expect(hour.map((tick) => tick.text)).toEqual(["09:10", "09:20", "09:30", "09:40", "09:50", "10:00"]);
  for (const days of [1, 7, 30, 400, 4_000]) {
    const ticks = timeTicks(from, from + days * 86_400_000, 6);
    expect(ticks.length).toBeGreaterThan(1);
    expect(ticks.length).toBeLessThanOrEqual(7);
    if (days > 7) for (const tick of ticks.slice(0, 1)) expect(new Date(tick.at).getMinutes()).toBe(0);
  }
});
