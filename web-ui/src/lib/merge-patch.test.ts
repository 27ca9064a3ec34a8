import { describe, expect, test } from "vitest";
import { buildMergePatch, changedFields, equalJson } from "./merge-patch.ts";

describe("a merge patch", () => {
  const seen = {
    title: "Flood",
    severity: "minor",
    description: null as string | null,
    location: { lat: 48.3, lon: 14.2 } as Record<string, number> | null,
    tags: ["river", "cellar"],
  };

  test("is empty when nothing changed, so that no edit is sent", () => {
    expect(buildMergePatch(seen, structuredClone(seen))).toEqual({});
  });

  test("names only the fields that changed, so that others' edits stand", () => {
    expect(buildMergePatch(seen, { ...seen, severity: "severe" })).toEqual({ severity: "severe" });
  });

  test("clears with null", () => {
    expect(buildMergePatch(seen, { ...seen, location: null })).toEqual({ location: null });
  });

  test("carries a location whole, and null for a member that is gone", () => {
    expect(buildMergePatch(seen, { ...seen, location: { lat: 48.4, lon: 14.2 } })).toEqual({
      location: { lat: 48.4, lon: 14.2 },
    });
    const withAltitude = { ...seen, location: { lat: 48.3, lon: 14.2, alt: 250 } };
    expect(buildMergePatch(withAltitude, seen)).toEqual({ location: { lat: 48.3, lon: 14.2, alt: null } });
  });

  test("carries a set whole, since RFC 7396 knows no parts of arrays", () => {
    expect(buildMergePatch(seen, { ...seen, tags: ["river"] })).toEqual({ tags: ["river"] });
  });

  test("takes a missing field and null for the same", () => {
    const wanted: Partial<typeof seen> = { ...seen };
    delete wanted.description;
    expect(changedFields<Partial<typeof seen>>(seen, wanted)).toEqual([]);
  });
});

test("JSON values are equal by content, not by identity or by order of members", () => {
  expect(equalJson({ a: [1, { b: null }], c: "x" }, { c: "x", a: [1, { b: null }] })).toBe(true);
  expect(equalJson([1, 2], [2, 1])).toBe(false);
  expect(equalJson({ a: 1 }, { a: 1, b: null })).toBe(false);
  expect(equalJson(null, {})).toBe(false);
});
