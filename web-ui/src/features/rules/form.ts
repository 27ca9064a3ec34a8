/** The form of a threshold rule. Pure. */
import type { Rule } from "../../api/types.ts";
import { texts } from "./texts.ts";

export interface RuleForm {
  name: string;
  device: string;
  channel: string;
  direction: "above" | "below";
  raise: string;
  clear: string;
  forS: string;
  holdS: string;
  title: string;
  category: string;
  severity: string;
}

export const emptyRule: RuleForm = {
  name: "",
  device: "",
  channel: "",
  direction: "above",
  raise: "",
  clear: "",
  forS: "0",
  holdS: "0",
  title: "",
  category: "Other",
  severity: "unknown",
};

export type RuleInput = Pick<Rule, "name" | "enabled" | "kind" | "for_s" | "hold_s"> & {
  match: NonNullable<Rule["match"]>;
  incident: NonNullable<Rule["incident"]>;
} & Partial<Pick<Rule, "raise_above" | "clear_below" | "raise_below" | "clear_above">>;

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
  const seconds = (key: string, text: string) => {
    const value = Number(text.trim());
    if (!Number.isInteger(value) || value < 0) errors[key] = texts.wholeSeconds;
    return value;
  };
  const above = form.direction === "above";
  const [raiseKey, clearKey] = levelKeys(form.direction);
  const name = need("name", form.name);
  const match = { device: need("match.device", form.device), channel: need("match.channel", form.channel) };
  const raise = number(raiseKey, form.raise);
  const clear = number(clearKey, form.clear);
  if (errors[raiseKey] === undefined && errors[clearKey] === undefined) {
    if (above && clear > raise) errors[clearKey] = texts.clearAbove;
    if (!above && clear < raise) errors[clearKey] = texts.clearBelow;
  }
  const forS = seconds("for_s", form.forS);
  const holdS = seconds("hold_s", form.holdS);
  const title = need("incident.title", form.title);
  if (Object.keys(errors).length > 0) return { errors };
  const incident: RuleInput["incident"] = { title, severity: form.severity };
  if (form.category !== "") incident.category = form.category;
  const levels = above ? { raise_above: raise, clear_below: clear } : { raise_below: raise, clear_above: clear };
  return { input: { name, enabled: true, match, kind: "threshold", ...levels, for_s: forS, hold_s: holdS, incident } };
}

export const levelKeys = (direction: RuleForm["direction"]): [string, string] =>
  direction === "above" ? ["raise_above", "clear_below"] : ["raise_below", "clear_above"];
