import { describe, expect, test } from "vitest";
import type { Rule, RuleInput } from "../../api/types.ts";
import { EXAMPLES } from "./expression.ts";
import { canonical, creationOf, emptyRule, formOf, parseRule, type RuleForm, shownKeys, withKind } from "./form.ts";

const filled: RuleForm = {
  ...emptyRule,
  name: "River high",
  device: "river-*",
  channel: "level",
  raise: "4,5",
  clear: "4",
  title: "Water at {device}",
};

function input(form: RuleForm): RuleInput {
  const parsed = parseRule(form);
  if ("errors" in parsed) throw new Error(JSON.stringify(parsed.errors));
  return parsed.input;
}

const errors = (form: RuleForm) => {
  const parsed = parseRule(form);
  return "errors" in parsed ? parsed.errors : {};
};

/** As a node would answer it. */
const stored = (rule: RuleInput): Rule => ({ ...rule, id: "r-1", version: "v1", enabled: true }) as unknown as Rule;

describe("what is sent", () => {
  test("has the fields of its kind and no others", () => {
    const window = { amount: "15", unit: "min" } as const;
    const sent = (form: RuleForm) =>
      Object.keys(creationOf(input(form))).filter((key) => !["for_s", "hold_s", "reopen_s", "incident"].includes(key));
    expect(sent(filled).sort()).toEqual(["clear_below", "kind", "match", "name", "raise_above"]);
    expect(sent({ ...filled, kind: "rate", window })).toContain("window_s");
    expect(input({ ...filled, unit: " m " }).unit).toBe("m");
    expect(sent({ ...filled, kind: "no_data", unit: "m" })).not.toContain("unit");
    expect(sent({ ...filled, kind: "no_data" }).sort()).toEqual(["after_s", "kind", "match", "name"]);
    expect(sent({ ...filled, kind: "sta_lta" })).toEqual(expect.arrayContaining(["sta_s", "lta_s"]));
    expect(sent({ ...filled, kind: "deviation", direction: "either", spreadMin: "0.1" })).toEqual(
      expect.arrayContaining(["spread_min", "either_way", "raise_above"]),
    );
  });

  test("of a fall, and of what lies below the normal, is negative, while people type how much", () => {
    const fall = input({
      ...filled,
      kind: "rate",
      direction: "below",
      raise: "0.5",
      clear: "0",
      severities: [{ level: "1", severity: "severe" }],
    });
    expect([fall.raise_below, fall.clear_above, fall.severities]).toEqual([
      -0.5,
      0,
      [{ level: -1, severity: "severe" }],
    ]);
    expect(Object.is(fall.clear_above, -0)).toBe(false);
    const below = input({ ...filled, direction: "below", raise: "2", clear: "3" });
    expect([below.raise_below, below.clear_above]).toEqual([2, 3]);
  });
});

test("a stored rule comes back as it was, so that an edit names only what changed", () => {
  const forms: RuleForm[] = [
    filled,
    { ...filled, direction: "below", raise: "2", clear: "3" },
    { ...filled, kind: "rate", direction: "below", raise: "0.5", clear: "0.2" },
    { ...filled, kind: "no_data", channel: "*" },
    { ...filled, kind: "deviation", direction: "either", spreadMin: "0.1" },
    { ...filled, kind: "sta_lta", staS: "0.5" },
    ...EXAMPLES.map(({ fill }) => ({ ...filled, kind: "expression" as const, ...fill })),
    {
      ...filled,
      silence: [
        { mode: "daily", from: "", to: "", dailyFrom: "22:00", dailyTo: "06:00", days: ["sun", "sat"], offset: "Z" },
        {
          mode: "both",
          from: "2026-11-20T08:00",
          to: "2026-12-01T08:00:30",
          dailyFrom: "12:00",
          dailyTo: "13:00",
          days: [],
          offset: "+05:30",
        },
      ],
      severities: [{ level: "5", severity: "extreme" }],
    },
  ];
  for (const form of forms) expect(canonical(stored(input(form)))).toEqual(input(form));
});

describe("what does not fit", () => {
  test("is said at its field, under the key that the node would use", () => {
    expect(Object.keys(errors(emptyRule)).sort()).toEqual([
      "clear_below",
      "incident.title",
      "match.channel",
      "match.device",
      "name",
      "raise_above",
    ]);
    const formula = errors({ ...filled, kind: "expression", formula: "", fresh: { amount: "0", unit: "s" } });
    expect(Object.keys(formula).sort()).toEqual([
      "expression.formula",
      "expression.fresh_s",
      "expression.inputs.0.channel",
      "expression.inputs.0.name",
    ]);
  });

  test("levels the wrong way round", () => {
    expect(errors({ ...filled, raise: "4", clear: "5" })).toHaveProperty("clear_below");
    expect(errors({ ...filled, direction: "below", raise: "4", clear: "3" })).toHaveProperty("clear_above");
    expect(errors({ ...filled, kind: "rate", direction: "below", raise: "1", clear: "2" })).toHaveProperty(
      "clear_above",
    );
    expect(errors({ ...filled, raise: "4", clear: "4" })).toEqual({});
  });

  test("every error has a field that shows it", () => {
    const worst: RuleForm = {
      ...emptyRule,
      kind: "expression",
      raise: "high",
      wait: { amount: "-1", unit: "s" },
      hold: { amount: "", unit: "s" },
      severities: [{ level: "", severity: "severe" }],
      silence: [{ mode: "both", from: "", to: "", dailyFrom: "", dailyTo: "25:00", days: [], offset: "CET" }],
    };
    const shown = shownKeys(worst);
    const missing = Object.keys(errors(worst)).filter((key) => !shown.has(key));
    expect(missing).toEqual([]);
    expect(Object.keys(errors(worst)).length).toBeGreaterThan(12);
  });
});

test("a change of kind drops a direction that the new kind does not have", () => {
  const either = { ...filled, kind: "deviation" as const, direction: "either" as const };
  expect(withKind(either, "threshold").direction).toBe("above");
  expect(withKind({ ...filled, direction: "below" }, "sta_lta").direction).toBe("above");
  expect(withKind({ ...filled, direction: "below" }, "rate").direction).toBe("below");
  expect(withKind({ ...filled, channel: "" }, "no_data").channel).toBe("*");
});

test("a rule that a merge left in contradiction cannot be written, and is still shown", () => {
  const torn = stored({ ...input(filled), clear_below: null });
  expect(canonical(torn)).toBeNull();
  expect(formOf(torn).clear).toBe("");
});
