import { describe, expect, test } from "vitest";
import type { Calibration } from "../../../api/types.ts";
import {
  applied,
  type CalibrationForm,
  curveText,
  emptyCalibration,
  inOrder,
  parseCalibration,
  shownKeys,
} from "./form.ts";

const OF = { device: "gauge-1", channel: "level" };
const parse = (form: Partial<CalibrationForm>) => parseCalibration({ ...emptyCalibration, ...form }, OF);
const errors = (form: Partial<CalibrationForm>) => {
  const parsed = parse(form);
  return "errors" in parsed ? parsed.errors : {};
};

test("a line goes as factor and offset, a decimal comma is one", () => {
  expect(parse({ scale: "1,02", offset: "-0.05", note: " certificate 4711 " })).toEqual({
    input: { ...OF, curve: { scale: 1.02, offset: -0.05 }, note: "certificate 4711" },
  });
});

test("a unit goes where one is given", () => {
  expect(parse({ unit: " cm " })).toMatchObject({ input: { unit: "cm" } });
  expect(parse({ unit: " " })).toEqual({ input: { ...OF, curve: { scale: 1, offset: 0 } } });
});

test("points are sent by their raw values, in whatever order they were measured", () => {
  const points = [
    { raw: "10", value: "10.4" },
    { raw: "0", value: "0.1" },
  ];
  expect(parse({ kind: "points", points })).toEqual({
    input: {
      ...OF,
      curve: {
        points: [
          { raw: 0, value: 0.1 },
          { raw: 10, value: 10.4 },
        ],
      },
    },
  });
});

test("what does not fit is said at its field", () => {
  expect(Object.keys(errors({ scale: "", offset: "x" }))).toEqual(["curve.scale", "curve.offset"]);
  const twice = [
    { raw: "1", value: "1" },
    { raw: "1,0", value: "2" },
  ];
  expect(Object.keys(errors({ kind: "points", points: twice }))).toEqual(["curve.points.1.raw"]);
  const one: Partial<CalibrationForm> = { kind: "points", points: [{ raw: "1", value: "" }] };
  const shown = shownKeys({ ...emptyCalibration, ...one });
  expect(Object.keys(errors(one)).every((key) => shown.has(key))).toBe(true);
  expect(Object.keys(errors(one))).toHaveLength(2);
});

describe("a curve applied", () => {
  const points = [
    { raw: 0, value: 1 },
    { raw: 10, value: 11 },
    { raw: 20, value: 31 },
  ];

  test.each([
    [5, 6],
    [10, 11],
    [15, 21],
    [-5, -4],
    [25, 41],
  ])("to %d is %d", (raw, value) => {
    expect(applied({ points }, raw)).toBe(value);
  });

  test("as a line needs neither of its parts", () => {
    expect([applied({ scale: 2 }, 3), applied({ offset: -1 }, 3), applied({}, 3)]).toEqual([6, 2, 3]);
  });
});

test("a curve is said as a person would write it", () => {
  expect(curveText({ scale: 1.02, offset: -0.05 })).toBe("value = raw × 1.02 − 0.05");
  expect(curveText({ scale: 2 })).toBe("value = raw × 2");
});

test("the newest is first, and of one time the one that counts", () => {
  const version = (id: string, valid_from: string | null, superseded_by: string | null = null) =>
    ({ id, valid_from, superseded_by }) as Calibration;
  const all = [
    version("first", null),
    version("lost", "2026-11-01T00:00:00Z", "won"),
    version("won", "2026-11-01T00:00:00Z"),
    version("ahead", "2027-01-01T00:00:00Z"),
  ];
  expect(inOrder(all).map((each) => each.id)).toEqual(["ahead", "won", "lost", "first"]);
});
