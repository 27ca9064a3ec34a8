import { expect, test } from "vitest";
import { durationOf, durationText, secondsOf } from "./duration.ts";

test("a duration comes back in the unit in which it was meant", () => {
  expect(durationOf(900)).toEqual({ amount: "15", unit: "min" });
  expect(durationOf(604_800)).toEqual({ amount: "7", unit: "d" });
  expect(durationOf(90)).toEqual({ amount: "90", unit: "s" });
  expect(durationOf(0)).toEqual({ amount: "0", unit: "s" });
});

test("what is typed becomes whole seconds, or nothing", () => {
  expect(secondsOf({ amount: " 0,5 ", unit: "h" })).toBe(1_800);
  expect(secondsOf({ amount: "1.1", unit: "min" })).toBe(66);
  for (const amount of ["", "soon", "-1", "0.5", "Infinity", "NaN"])
    expect(secondsOf({ amount, unit: "s" })).toBeNull();
});

test("words name two units at most, and never skip one", () => {
  expect([0, 0.5, 59, 60, 5_400, 86_400, 90_061, 604_800, 3_601].map(durationText)).toEqual([
    "0 s",
    "0.5 s",
    "59 s",
    "1 min",
    "1 h 30 min",
    "1 d",
    "1 d 1 h",
    "7 d",
    "1 h",
  ]);
});
