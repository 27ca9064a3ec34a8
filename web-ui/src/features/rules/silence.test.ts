import { expect, test } from "vitest";
import { formOfWindow, newWindow, parseWindow, windowText } from "./silence.ts";

test("days go in the order of the week, and all of them are no condition", () => {
  const errors = {};
  const window = parseWindow({ ...newWindow(), days: ["sun", "mon"], offset: "Z" }, "silence.0", errors);
  expect(window).toEqual({ daily_from: "22:00", daily_to: "06:00", days: "mon sun", offset: "Z" });
  const whole = { ...newWindow(), days: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] };
  expect(parseWindow(whole, "silence.0", errors)).not.toHaveProperty("days");
  expect(errors).toEqual({});
});

test("a range that ends before it begins is refused at its end", () => {
  const errors: Record<string, string> = {};
  const backwards = { ...newWindow(), mode: "range" as const, from: "2026-11-20T10:00", to: "2026-11-20T09:00" };
  parseWindow(backwards, "silence.1", errors);
  expect(Object.keys(errors)).toEqual(["silence.1.to"]);
});

test("hours without an offset are UTC, as the node takes them", () => {
  expect(formOfWindow({ daily_from: "22:00", daily_to: "06:00" })).toMatchObject({ mode: "daily", offset: "Z" });
  expect(windowText({ daily_from: "22:00", daily_to: "06:00", days: "sat sun", offset: "+05:45" })).toBe(
    "Sat, Sun from 22:00 to 06:00 (+05:45)",
  );
});
