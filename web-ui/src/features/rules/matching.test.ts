import { expect, test } from "vitest";
import type { Series } from "../../api/types.ts";
import { channelNames, fits, unitOf } from "./matching.ts";

const series = (device: string, channel: string, unit: string | null): Series => ({
  id: `${device}/${channel}`,
  device,
  channel,
  unit,
  count: 1,
  last: null,
  heard_by: [],
});

test.each<[string, string, boolean]>([
  ["river-*", "river-1", true],
  ["river-*", "river-", true],
  ["river-*", "ariver-1", false],
  ["*", "", true],
  ["*-1", "river-1", true],
  ["a*b*c", "abbc", true],
  ["a*b*c", "acb", false],
  ["ab*ba", "aba", false],
  ["r.ver", "river", false],
  ["level", "level", true],
])("%s against %s: %s", (pattern, name, expected) => {
  expect(fits(pattern, name)).toBe(expected);
});

test("a unit is shown only where all that matches has it", () => {
  const all = [series("river-1", "level", "m"), series("river-2", "level", "m"), series("tank-1", "level", "cm")];
  expect(unitOf({ device: "river-*", channel: "level" }, all)).toBe("m");
  expect(unitOf({ device: "*", channel: "level" }, all)).toBeNull();
  expect(unitOf({ device: "lake", channel: "level" }, all)).toBeNull();
  expect(unitOf(null, all)).toBeNull();
});

test("channels to choose from are those of the devices that match, of all where none does", () => {
  const all = [series("river-1", "level", "m"), series("air-1", "pm2_5", null)];
  expect(channelNames("air-*", all)).toEqual(["pm2_5"]);
  expect(channelNames("lake", all)).toEqual(["level", "pm2_5"]);
});
