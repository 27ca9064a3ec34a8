import { expect, test } from "vitest";
import type { Decoder } from "../../api/types.ts";
import { addedEntries, entryText, parseEntry, placeOf, withEntry } from "./entries.ts";

const decoder = (origin: string, topic: string, more: Record<string, unknown> = {}): Decoder => ({
  origin,
  name: topic,
  version: "1",
  topic,
  entry: { topic, format: "plain", ...more },
  problem: null,
});

test("only what was added here is sent back, in its order: the configuration's own entries are not the page's", () => {
  const all = [
    decoder("built-in", "muster/v1/#"),
    decoder("configuration", "a/#"),
    decoder("api", "c"),
    decoder("api", "b"),
  ];
  expect(addedEntries(all).map((entry) => entry.topic)).toEqual(["c", "b"]);
});

test("what is stored and is no entry is not sent back, and the others keep their order", () => {
  const broken: Decoder = { ...decoder("api", ""), entry: null, problem: "not an object" };
  const entries = addedEntries([decoder("api", "a"), broken, decoder("api", "b")]);
  expect(entries.map((entry) => entry.topic)).toEqual(["a", "b"]);
});

test("an entry is replaced in its place, and others stay as they are", () => {
  const entries = addedEntries([decoder("api", "a"), decoder("api", "b")]);
  expect(withEntry(entries, 0, { topic: "x" }).map((entry) => entry.topic)).toEqual(["x", "b"]);
  expect(withEntry(entries, null, { topic: "x" }).map((entry) => entry.topic)).toEqual(["a", "b", "x"]);
});

test("an entry that moved is found where it stands now, and one that is not there any more is not found", () => {
  const [a, b] = [{ topic: "a" }, { topic: "b" }];
  const seen = { at: 1, text: entryText(b) };
  expect(placeOf([a, b], seen)).toBe(1);
  expect(placeOf([b], seen)).toBe(0);
  expect(placeOf([a], seen)).toBeNull();
  expect(placeOf([a, { topic: "b", format: "plain" }], seen)).toBeNull();
  expect(placeOf([b, b], seen)).toBe(1);
});

test("options that say nothing are not shown; what is off or zero says something", () => {
  const shown = entryText({ topic: "a", unit: null, channels: {}, values: [], f_port: 0, required: false });
  expect(JSON.parse(shown)).toEqual({ topic: "a", f_port: 0, required: false });
});

test("text that is no object is refused with the reason", () => {
  expect(parseEntry('{"topic": "a"}')).toEqual({ entry: { topic: "a" } });
  expect(parseEntry("[1]")).toHaveProperty("error");
  expect(parseEntry("{topic: a}")).toHaveProperty("error");
});
