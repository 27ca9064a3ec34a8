import { expect, test } from "vitest";
import { valueText } from "./value.tsx";

test.each([
  ["severity", "extreme", "Extreme"],
  ["status", "a_word_of_tomorrow", "a_word_of_tomorrow"],
  ["title", "extreme", "extreme"],
  ["location", { lat: 48.3, lon: -14.25 }, "48.30000, -14.25000"],
  ["tags", ["river", "cellar"], "river, cellar"],
  ["tags", [], "empty"],
  ["description", "", "empty"],
  ["peak", { at: "2026-11-20T12:00:00Z", value: 4.6200000047 }, "4.62"],
  ["source", { rule: "r", device: "river-1", channel: "level" }, "river-1 · level"],
  ["evidence", [{ node: "a", from: "x", to: "y" }], "from one node"],
  ["enabled", false, "no"],
  ["match", { device: "river-*", channel: "level" }, "river-* · level"],
  ["incident", { title: "Flood", severity: "severe" }, "title Flood, severity Severe"],
  [
    "expression",
    { formula: "a", inputs: [{ name: "a", channel: "level", function: "rise", window_s: 900 }] },
    "formula a, inputs name a, channel level, function rise, window (s) 900",
  ],
  ["severities", [{ level: 5, severity: "severe" }], "level 5, severity Severe"],
  ["curve", { points: [{ raw: 0, value: 1 }] }, "points raw 0, value 1"],
  ["silence", [], "empty"],
  ["something new", { a: 1 }, '{"a":1}'],
])("%s %j reads %j", (field, value, words) => {
  expect(valueText(field, value)).toBe(words);
});
