/** The form of a rule between text that a person types and what the node takes. Pure.
 *
 * Invariant: the form of a rule, parsed again, says what the rule says (`canonical`), so that an edit of one field names
 * no other. */
import type { Rule, RuleInput, RuleKind, Severity } from "../../api/types.ts";
import { type Duration, durationOf, secondsOf } from "../../lib/duration.ts";
import { emptyInput, formOfInput, type InputForm, isWindowed, parseExpression } from "./expression.ts";
import { formOfWindow, parseWindow, type WindowForm } from "./silence.ts";
import { texts } from "./texts.ts";

/** Which way out of the normal. `either` is of deviations only. */
export type Direction = "above" | "below" | "either";

export interface StepForm {
  level: string;
  severity: string;
}

export interface RuleForm {
  name: string;
  kind: RuleKind;
  device: string;
  channel: string;
  /** Of the levels; empty: whatever the sensor says. */
  unit: string;
  direction: Direction;
  raise: string;
  clear: string;
  wait: Duration;
  hold: Duration;
  reopen: Duration;
  window: Duration;
  after: Duration;
  spreadMin: string;
  staS: string;
  ltaS: string;
  formula: string;
  inputs: InputForm[];
  fresh: Duration;
  severities: StepForm[];
  silence: WindowForm[];
  title: string;
  category: string;
  severity: string;
}

const NONE: Duration = { amount: "0", unit: "min" };

export const emptyRule: RuleForm = {
  name: "",
  kind: "threshold",
  device: "",
  channel: "",
  unit: "",
  direction: "above",
  raise: "",
  clear: "",
  wait: NONE,
  hold: NONE,
  // What the node takes where nothing is said.
  reopen: { amount: "10", unit: "min" },
  window: { amount: "15", unit: "min" },
  after: { amount: "30", unit: "min" },
  spreadMin: "",
  staS: "1",
  ltaS: "30",
  formula: "",
  inputs: [emptyInput],
  fresh: { amount: "1", unit: "h" },
  severities: [],
  silence: [],
  title: "",
  category: "Other",
  severity: "unknown",
};

/** As many as the node takes. */
export const SEVERITIES_MAX = 5;
export const WINDOWS_MAX = 16;

/** What a rule of another kind can keep of this form. */
export function withKind(form: RuleForm, kind: RuleKind): RuleForm {
  const upwardsOnly = kind === "sta_lta" || (form.direction === "either" && kind !== "deviation");
  const channel = kind === "no_data" && form.channel.trim() === "" ? "*" : form.channel;
  return { ...form, kind, channel, direction: upwardsOnly ? "above" : form.direction };
}

/** A fall and what lies below the normal are negative numbers to the node; people say “a fall of more than 0.5”. */
export const isMirrored = (kind: string, direction: Direction): boolean =>
  direction === "below" && (kind === "rate" || kind === "deviation");

/** Inputs of a formula have units of their own. */
export const hasUnit = (kind: string): boolean => hasLevels(kind) && kind !== "expression";

export const hasLevels = (kind: string): boolean => kind !== "no_data";

/** Names of the node's fields for the two levels. */
export const levelKeys = (direction: Direction) =>
  direction === "below" ? (["raise_below", "clear_above"] as const) : (["raise_above", "clear_below"] as const);

/** Keys of errors are those of the node's own answers, so that both appear at the same field. */
export function parseRule(form: RuleForm): { input: RuleInput } | { errors: Record<string, string> } {
  const errors: Record<string, string> = {};
  const need = (key: string, text: string) => {
    if (text.trim() === "") errors[key] = texts.missing;
    return text.trim();
  };
  const number = (key: string, text: string) => {
    const value = Number(text.trim().replace(",", "."));
    if (text.trim() === "") errors[key] = texts.missing;
    else if (!Number.isFinite(value)) errors[key] = texts.number;
    return value;
  };
  const seconds = (key: string, duration: Duration, min = 0) => {
    const value = secondsOf(duration);
    if (value === null || value < min) errors[key] = min === 0 ? texts.duration : texts.durationMin;
    return value ?? 0;
  };
  const { kind, direction } = form;
  const input: RuleInput = {
    ...nothing,
    kind,
    name: need("name", form.name),
    match: { device: need("match.device", form.device), channel: need("match.channel", form.channel) },
    for_s: hasLevels(kind) ? seconds("for_s", form.wait) : 0,
    hold_s: seconds("hold_s", form.hold),
    reopen_s: seconds("reopen_s", form.reopen),
    incident: {
      title: need("incident.title", form.title),
      severity: form.severity as Severity,
      category: form.category as NonNullable<RuleInput["incident"]["category"]>,
    },
  };
  const sign = isMirrored(kind, direction) ? -1 : 1;
  if (hasLevels(kind)) {
    const [raiseKey, clearKey] = levelKeys(direction);
    const raise = number(raiseKey, form.raise);
    const clear = number(clearKey, form.clear);
    const falls = direction === "below" && sign === 1;
    if (errors[raiseKey] === undefined && errors[clearKey] === undefined && (falls ? clear < raise : clear > raise))
      errors[clearKey] = falls ? texts.clearBelow : texts.clearAbove;
    input[raiseKey] = signed(sign, raise);
    input[clearKey] = signed(sign, clear);
  }
  if (hasUnit(kind) && form.unit.trim() !== "") input.unit = form.unit.trim();
  if (kind === "rate" || kind === "deviation") input.window_s = seconds("window_s", form.window, 1);
  if (kind === "no_data") input.after_s = seconds("after_s", form.after, 1);
  if (kind === "deviation") {
    input.spread_min = number("spread_min", form.spreadMin);
    input.either_way = direction === "either";
  }
  if (kind === "sta_lta") {
    input.sta_s = number("sta_s", form.staS);
    input.lta_s = number("lta_s", form.ltaS);
  }
  if (kind === "expression") input.expression = parseExpression(form, errors);
  if (form.severities.length > 0 && hasLevels(kind)) {
    input.severities = form.severities.map(({ level, severity }, index) => ({
      level: signed(sign, number(`severities.${index}.level`, level)),
      severity: severity as Severity,
    }));
  }
  if (form.silence.length > 0) {
    input.silence = form.silence.map((window, index) => parseWindow(window, `silence.${index}`, errors));
  }
  return Object.keys(errors).length > 0 ? { errors } : { input };
}

/** Not -0, which JSON and people write as 0. */
const signed = (sign: number, value: number): number => (value === 0 ? 0 : sign * value);

/** Fields that belong to some kinds only, or that a rule may lack. */
const nothing = {
  unit: null,
  raise_above: null,
  clear_below: null,
  raise_below: null,
  clear_above: null,
  window_s: null,
  after_s: null,
  spread_min: null,
  either_way: false,
  sta_s: null,
  lta_s: null,
  expression: null,
  severities: null,
  silence: null,
} satisfies Partial<RuleInput>;

/** What a new rule sends: nothing for what is not there. */
export function creationOf(input: RuleInput): Partial<RuleInput> {
  return Object.fromEntries(
    Object.entries(input).filter(([, value]) => value !== null && value !== false),
  ) as Partial<RuleInput>;
}

export function formOf(rule: Rule): RuleForm {
  const direction = rule.either_way ? "either" : rule.raise_below !== null ? "below" : "above";
  const kind = rule.kind as RuleKind;
  const sign = isMirrored(kind, direction) ? -1 : 1;
  const level = (value: number | null) => (value === null ? "" : String(signed(sign, value)));
  const text = (value: number | null, fallback: string) => (value === null ? fallback : String(value));
  const duration = (seconds: number | null | undefined, fallback: Duration) =>
    seconds === null || seconds === undefined ? fallback : durationOf(seconds);
  return {
    name: rule.name,
    kind,
    device: rule.match?.device ?? "",
    channel: rule.match?.channel ?? "",
    unit: rule.unit ?? "",
    direction,
    raise: level(direction === "below" ? rule.raise_below : rule.raise_above),
    clear: level(direction === "below" ? rule.clear_above : rule.clear_below),
    wait: durationOf(rule.for_s),
    hold: durationOf(rule.hold_s),
    reopen: durationOf(rule.reopen_s),
    window: duration(rule.window_s, emptyRule.window),
    after: duration(rule.after_s, emptyRule.after),
    spreadMin: text(rule.spread_min, ""),
    staS: text(rule.sta_s, emptyRule.staS),
    ltaS: text(rule.lta_s, emptyRule.ltaS),
    formula: rule.expression?.formula ?? "",
    inputs: rule.expression?.inputs.map(formOfInput) ?? [emptyInput],
    fresh: duration(rule.expression?.fresh_s, emptyRule.fresh),
    severities: rule.severities?.map((step) => ({ level: level(step.level), severity: step.severity })) ?? [],
    silence: rule.silence?.map(formOfWindow) ?? [],
    title: rule.incident?.title ?? "",
    category: rule.incident?.category ?? emptyRule.category,
    severity: rule.incident?.severity ?? emptyRule.severity,
  };
}

/** What a rule says, in the very form in which this page would write it; null where a merge left what nobody can
 * write. */
export function canonical(rule: Rule): RuleInput | null {
  const parsed = parseRule(formOf(rule));
  return "input" in parsed ? parsed.input : null;
}

/** Whether this page knows all that a rule says: a kind of a newer node is shown, and not edited. */
export const isKnownKind = (kind: string): kind is RuleKind => kind in texts.kinds;

/** Keys of errors that the form shows at a field; any other belongs above it. */
export function shownKeys(form: RuleForm): ReadonlySet<string> {
  const shown = ["kind", "name", "match.device", "match.channel", "hold_s", "reopen_s"];
  shown.push("incident.title", "incident.severity", "incident.category");
  if (hasLevels(form.kind)) {
    shown.push(...levelKeys(form.direction), "for_s");
    form.severities.forEach((_, at) => {
      shown.push(`severities.${at}`, `severities.${at}.level`, `severities.${at}.severity`);
    });
  }
  if (hasUnit(form.kind)) shown.push("unit");
  if (form.kind === "rate" || form.kind === "deviation") shown.push("window_s");
  if (form.kind === "no_data") shown.push("after_s");
  if (form.kind === "deviation") shown.push("spread_min");
  if (form.kind === "sta_lta") shown.push("sta_s", "lta_s");
  if (form.kind === "expression") {
    shown.push("expression.formula", "expression.fresh_s");
    if (form.inputs.length === 0) shown.push("expression.inputs");
    form.inputs.forEach((_, at) => {
      const input = `expression.inputs.${at}`;
      shown.push(input, ...["name", "device", "channel", "unit", "function"].map((field) => `${input}.${field}`));
      if (isWindowed(form.inputs[at]?.function ?? "")) shown.push(`${input}.window_s`);
    });
  }
  form.silence.forEach((window, at) => {
    const fields = window.mode === "range" ? [] : ["daily_from", "daily_to", "days", "offset"];
    if (window.mode !== "daily") fields.push("from", "to");
    shown.push(`silence.${at}`, ...fields.map((field) => `silence.${at}.${field}`));
  });
  return new Set(shown);
}
