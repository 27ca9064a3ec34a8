import { expect, test } from "vitest";
import { EXAMPLES } from "./expression.ts";
import { emptyRule, parseRule, type RuleForm } from "./form.ts";
import { notes, type Said, sentence } from "./sentence.ts";

const base: RuleForm = {
  ...emptyRule,
  name: "n",
  device: "river-*",
  channel: "level",
  raise: "4",
  clear: "3.5",
  title: "T",
  severity: "moderate",
};

function said(form: Partial<RuleForm>): Said {
  const parsed = parseRule({ ...base, ...form });
  if ("errors" in parsed) throw new Error(JSON.stringify(parsed.errors));
  return parsed.input;
}

test.each<[string, Partial<RuleForm>, string]>([
  [
    "a level with its waits",
    { wait: { amount: "10", unit: "min" }, hold: { amount: "90", unit: "s" } },
    "When level of river-* is above 4 m for 10 min, opens “T” (Moderate). Normal again: below 3.5 m for 1 min 30 s.",
  ],
  [
    "a fall, as people say it",
    { kind: "rate", direction: "below", raise: "0.5", clear: "0.2" },
    "When level of river-* falls by more than 0.5 m within 15 min, opens “T” (Moderate). Normal again: it falls by less than 0.2 m.",
  ],
  [
    "silence of a whole device",
    { kind: "no_data", channel: "*" },
    "When nothing is heard of river-* for 30 min, opens “T” (Moderate). Normal again: a value comes.",
  ],
  [
    "a deviation either way, which has no unit",
    { kind: "deviation", direction: "either", spreadMin: "0.1", raise: "6", clear: "3" },
    "When level of river-* is more than 6 spreads away from its normal of the last 15 min, opens “T” (Moderate). Normal again: less than 3.",
  ],
  [
    "shaking",
    { kind: "sta_lta", device: "*" },
    "When the shaking in level of any device is above 4 times its background (1 s against 30 s), opens “T” (Moderate). Normal again: below 3.5 times.",
  ],
])("%s", (_, form, expected) => {
  expect(sentence(said(form), "m")).toBe(expected);
});

test("what a formula is made of stands in the notes", () => {
  const [smoke] = EXAMPLES;
  if (smoke === undefined) throw new Error("no example");
  expect(notes(said({ kind: "expression", ...smoke.fill }))).toEqual([
    "Severe from 200 on.",
    "Extreme from 300 on.",
    "In the formula, aqi is the air quality index of PM2.5 (NowCast) of pm2_5.",
    "True again within 10 min, it goes on in the same incident.",
  ]);
});

test("what this page does not know, or nobody meant, is said and not guessed", () => {
  expect(sentence({ ...said({}), kind: "tide" })).toContain("“tide”");
  expect(sentence({ ...said({}), clear_below: null })).toContain("do not fit");
  expect(sentence({ ...said({}), match: null })).toContain("no device");
});
