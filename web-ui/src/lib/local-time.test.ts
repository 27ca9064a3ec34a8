import { expect, test } from "vitest";
import { toLocal, toMoment } from "./local-time.ts";

test("a moment comes back from the form as it was, whatever zone this device is in", () => {
  for (const moment of ["2026-11-20T08:00:00Z", "2026-03-29T01:30:15Z", "2026-11-20T08:00:00.250Z"])
    expect(toMoment(toLocal(moment))).toBe(moment);
  expect(toLocal("2026-11-20T08:00:00Z")).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d$/);
  expect(toLocal("soon")).toBe("");
  expect(toMoment("")).toBeNull();
});
