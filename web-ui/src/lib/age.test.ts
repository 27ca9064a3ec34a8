import { describe, expect, test } from "vitest";
import { formatAge, isStale } from "./age.ts";

const now = Date.parse("2026-11-20T12:00:00Z");
const secondsAgo = (seconds: number) => new Date(now - seconds * 1_000).toISOString();

describe("an age", () => {
  test.each([
    [0, "just now"],
    [42, "42 s ago"],
    [59.9, "59 s ago"],
    [60, "1 min ago"],
    [3_599, "59 min ago"],
    [7_200, "2 h ago"],
    [7_260, "2 h 1 min ago"],
    [90_000, "1 d 1 h ago"],
    [10 * 86_400 + 3_600, "10 d ago"],
  ])("of %s s reads %j", (seconds, words) => {
    expect(formatAge(secondsAgo(seconds), now)).toBe(words);
  });

  test("forgives clocks that differ by seconds, and says when one is wrong", () => {
    expect(formatAge(secondsAgo(-20), now)).toBe("just now");
    expect(formatAge(secondsAgo(-3_600), now)).toBe("1 h in the future (a clock is wrong)");
  });

  test("that is not known is said to be unknown", () => {
    expect(formatAge(null, now)).toBe("age unknown");
    expect(formatAge("yesterday", now)).toBe("age unknown");
  });
});

describe("a value", () => {
  test("of which only the age is known is stale after ten minutes", () => {
    expect(isStale(secondsAgo(590), now)).toBe(false);
    expect(isStale(secondsAgo(610), now)).toBe(true);
  });

  test("without a time is never shown as fresh", () => {
    expect(isStale(null, now)).toBe(true);
  });
});
