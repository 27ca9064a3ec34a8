import { describe, expect, test } from "vitest";
import { creationOf, emptyForm, formOf, parseForm } from "./form.ts";

describe("the incident form", () => {
  test("gives back what it was filled with", () => {
    const input = {
      title: "Bridge closed",
      category: "Transport",
      status: "active",
      severity: "moderate",
      description: "Both lanes.\n",
      location: { lat: -33.5, lon: 151 },
      tags: ["bridge", "north"],
    };
    expect(parseForm(formOf(input))).toEqual({ input });
  });

  test("takes a decimal comma and refuses half a location and impossible degrees", () => {
    expect(parseForm({ ...emptyForm, title: "x", lat: "48,3", lon: "14.2°" })).toMatchObject({
      input: { location: { lat: 48.3, lon: 14.2 } },
    });
    expect(parseForm({ ...emptyForm, title: "x", lat: "48.3", lon: "" })).toHaveProperty(["errors", "location.lon"]);
    expect(parseForm({ ...emptyForm, title: "x", lat: "91", lon: "0" })).toHaveProperty(["errors", "location.lat"]);
  });

  test("needs a title, and sends nothing for what was left empty", () => {
    expect(parseForm(emptyForm)).toHaveProperty("errors.title");
    const parsed = parseForm({ ...emptyForm, title: " Smoke ", tags: "a, ,a" });
    expect("input" in parsed && creationOf(parsed.input)).toEqual({
      title: "Smoke",
      category: "Other",
      status: "reported",
      severity: "unknown",
      tags: ["a"],
    });
  });
});
