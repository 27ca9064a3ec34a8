/** The part of a rule's form that describes a virtual sensor: a formula over several channels. Pure. */
import type { RuleExpression, RuleExpressionInput, RuleFunction } from "../../api/types.ts";
import { type Duration, durationOf, secondsOf } from "../../lib/duration.ts";
import type { RuleForm } from "./form.ts";
import { texts } from "./texts.ts";

export interface InputForm {
  name: string;
  /** Empty: the device that the rule looks at. */
  device: string;
  channel: string;
  /** Empty: as the sensor sends it. */
  unit: string;
  function: string;
  window: Duration;
}

const QUARTER: Duration = { amount: "15", unit: "min" };

export const emptyInput: InputForm = { name: "", device: "", channel: "", unit: "", function: "last", window: QUARTER };

/** As many as the node takes. */
export const INPUTS_MAX = 16;

/** Functions that look back over a time. */
const WINDOWED: ReadonlySet<string> = new Set(["rise", "min", "max", "mean"]);

export const isWindowed = (name: string): boolean => WINDOWED.has(name);

/** What the node takes where nothing is said. */
const FRESH_S_DEFAULT = 3_600;

export function parseExpression(
  form: Pick<RuleForm, "formula" | "inputs" | "fresh">,
  errors: Record<string, string>,
): RuleExpression {
  const need = (key: string, text: string) => {
    if (text.trim() === "") errors[key] = texts.missing;
    return text.trim();
  };
  const seconds = (key: string, duration: Duration) => {
    const value = secondsOf(duration);
    if (value === null || value < 1) errors[key] = texts.durationMin;
    return value ?? 0;
  };
  const inputs = form.inputs.map((input, index): RuleExpressionInput => {
    const at = `expression.inputs.${index}`;
    const parsed: RuleExpressionInput = {
      name: need(`${at}.name`, input.name),
      channel: need(`${at}.channel`, input.channel),
    };
    if (input.device.trim() !== "") parsed.device = input.device.trim();
    if (input.unit.trim() !== "") parsed.unit = input.unit.trim();
    if (input.function !== "last") parsed.function = input.function as RuleFunction;
    if (isWindowed(input.function)) parsed.window_s = seconds(`${at}.window_s`, input.window);
    return parsed;
  });
  const expression: RuleExpression = { formula: need("expression.formula", form.formula), inputs };
  const freshS = seconds("expression.fresh_s", form.fresh);
  if (freshS !== FRESH_S_DEFAULT) expression.fresh_s = freshS;
  return expression;
}

export const formOfInput = (input: {
  name: string;
  device?: string;
  channel: string;
  unit?: string;
  function?: string;
  window_s?: number;
}): InputForm => ({
  name: input.name,
  device: input.device ?? "",
  channel: input.channel,
  unit: input.unit ?? "",
  function: input.function ?? "last",
  window: input.window_s === undefined ? QUARTER : durationOf(input.window_s),
});

/** What a person starts from. */
export interface Example {
  label: string;
  fill: Partial<RuleForm>;
}

const input = (name: string, channel: string, more: Partial<InputForm> = {}): InputForm => ({
  ...emptyInput,
  name,
  channel,
  ...more,
});

/** Virtual sensors of which the field knows what their values mean; the levels are those of the documentation. */
export const EXAMPLES: Example[] = [
  {
    label: "Smoke: air quality index (NowCast)",
    fill: {
      channel: "aqi",
      formula: "aqi",
      inputs: [input("aqi", "pm2_5", { function: "nowcast_aqi_pm25" })],
      direction: "above",
      raise: "150",
      clear: "100",
      severities: [
        { level: "200", severity: "severe" },
        { level: "300", severity: "extreme" },
      ],
      category: "Health",
      severity: "moderate",
      title: "Air at {device}: AQI {value}",
    },
  },
  {
    label: "Heat: heat index from temperature and humidity",
    fill: {
      channel: "heat_index",
      formula: "heat_index(t, rh)",
      inputs: [input("t", "temperature"), input("rh", "humidity")],
      direction: "above",
      raise: "41",
      clear: "38",
      wait: { amount: "10", unit: "min" },
      category: "Health",
      severity: "moderate",
      title: "Heat at {device}: {value} °C",
    },
  },
  {
    label: "River: rises at both gauges within 15 minutes",
    fill: {
      device: "river-gauges",
      channel: "rise_of_both",
      formula: "min(up, down)",
      inputs: [
        input("up", "level", { device: "gauge-up", function: "rise" }),
        input("down", "level", { device: "gauge-down", function: "rise" }),
      ],
      direction: "above",
      raise: "0.5",
      clear: "0.2",
      category: "Met",
      severity: "severe",
      title: "The river rises fast: {value} m in 15 min at both gauges",
    },
  },
  {
    label: "Difference: upstream gauge minus downstream gauge",
    fill: {
      device: "river-step",
      channel: "difference",
      formula: "up - down",
      inputs: [input("up", "level", { device: "gauge-up" }), input("down", "level", { device: "gauge-down" })],
      direction: "above",
      raise: "1.5",
      clear: "1",
      category: "Infra",
      severity: "moderate",
      title: "Water is held back: {value} m between the gauges",
    },
  },
];
