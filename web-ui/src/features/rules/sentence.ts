/** A rule in plain words. Pure.
 *
 * Invariant: whatever a rule says that is shown nowhere else is in its sentence or in its notes. */
import type { Rule } from "../../api/types.ts";
import { durationText } from "../../lib/duration.ts";
import { label } from "../../ui/texts.ts";
import { numberText, unitText } from "../../ui/value.tsx";
import { windowText } from "./silence.ts";
import { texts } from "./texts.ts";

/** The parts that words are made of: a rule as the node answers it, or the input of a form. */
export type Said = Pick<
  Rule,
  | "name"
  | "kind"
  | "match"
  | "raise_above"
  | "clear_below"
  | "raise_below"
  | "clear_above"
  | "for_s"
  | "hold_s"
  | "reopen_s"
  | "window_s"
  | "after_s"
  | "spread_min"
  | "either_way"
  | "sta_s"
  | "lta_s"
  | "expression"
  | "severities"
  | "silence"
  | "incident"
>;

interface Level {
  raise: number;
  clear: number;
  above: boolean;
}

function levelOf(rule: Said): Level | null {
  if (rule.raise_above !== null && rule.clear_below !== null)
    return { raise: rule.raise_above, clear: rule.clear_below, above: true };
  if (rule.raise_below !== null && rule.clear_above !== null)
    return { raise: rule.raise_below, clear: rule.clear_above, above: false };
  return null;
}

/** `river-*` names several; a single star any. */
function deviceText(device: string): string {
  return device === "*" ? "any device" : device;
}

/** When it raises, and when it is normal again. */
function condition(rule: Said, what: string, unit: string): [string, string] {
  const number = (value: number) => `${numberText(value)}${unit}`;
  const window = durationText(rule.window_s ?? 0);
  if (rule.kind === "no_data") {
    const source =
      rule.match?.channel === "*"
        ? `nothing is heard of ${deviceText(rule.match.device)}`
        : `no value comes from ${what}`;
    return [`${source} for ${durationText(rule.after_s ?? 0)}`, "a value comes"];
  }
  const level = levelOf(rule);
  if (level === null) return [texts.unfit, ""];
  const { raise, clear, above } = level;
  const side = above ? "above" : "below";
  const other = above ? "below" : "above";
  switch (rule.kind) {
    case "rate":
      if (above)
        return [
          `${what} rises by more than ${number(raise)} within ${window}`,
          `it rises by less than ${number(clear)}`,
        ];
      return raise <= 0 && clear <= 0
        ? [`${what} falls by more than ${number(-raise)} within ${window}`, `it falls by less than ${number(-clear)}`]
        : [`the change of ${what} within ${window} is below ${number(raise)}`, `it is above ${number(clear)}`];
    case "deviation": {
      const normal = `its normal of the last ${window}`;
      if (rule.either_way)
        return [
          `${what} is more than ${numberText(raise)} spreads away from ${normal}`,
          `less than ${numberText(clear)}`,
        ];
      if (above)
        return [`${what} is more than ${numberText(raise)} spreads above ${normal}`, `less than ${numberText(clear)}`];
      return [`${what} is more than ${numberText(-raise)} spreads below ${normal}`, `less than ${numberText(-clear)}`];
    }
    case "sta_lta": {
      const against = `${durationText(rule.sta_s ?? 0)} against ${durationText(rule.lta_s ?? 0)}`;
      return [
        `the shaking in ${what} is ${side} ${numberText(raise)} times its background (${against})`,
        `${other} ${numberText(clear)} times`,
      ];
    }
    case "expression":
      return [
        `${what}, computed as ${rule.expression?.formula ?? "?"}, is ${side} ${numberText(raise)}`,
        `${other} ${numberText(clear)}`,
      ];
    default:
      return [`${what} is ${side} ${number(raise)}`, `${other} ${number(clear)}`];
  }
}

/** One sentence; `unit` is that of the values it looks at, where all have the same. */
export function sentence(rule: Said, unit: string | null = null): string {
  if (!(rule.kind in texts.kinds)) return texts.unknownKind(rule.kind);
  if (rule.match === null) return texts.noMatch;
  const what =
    rule.match.channel === "*"
      ? `any value of ${deviceText(rule.match.device)}`
      : `${rule.match.channel} of ${deviceText(rule.match.device)}`;
  const [raises, clears] = condition(rule, what, unit === null ? "" : ` ${unitText(unit)}`);
  if (clears === "") return texts.unfit;
  const wait = rule.for_s > 0 ? ` for ${durationText(rule.for_s)}` : "";
  const hold = rule.hold_s > 0 ? ` for ${durationText(rule.hold_s)}` : "";
  const known = rule.incident?.severity !== undefined && rule.incident.severity !== "unknown";
  const severity = known ? ` (${label(rule.incident?.severity)})` : "";
  return `When ${raises}${wait}, opens “${rule.incident?.title ?? rule.name}”${severity}. Normal again: ${clears}${hold}.`;
}

/** What else it says, a line each. */
export function notes(rule: Said): string[] {
  const lines: string[] = [];
  const mirrored = (rule.kind === "rate" || rule.kind === "deviation") && rule.raise_below !== null;
  for (const step of rule.severities ?? [])
    lines.push(`${label(step.severity)} from ${numberText(mirrored ? -step.level : step.level)} on.`);
  for (const input of rule.expression?.inputs ?? []) {
    const words = texts.functions[input.function ?? "last"] ?? input.function;
    const window = input.window_s === undefined ? "" : ` ${durationText(input.window_s)}`;
    lines.push(
      `In the formula, ${input.name} is the ${words}${window} of ${input.channel}${input.device ? ` of ${input.device}` : ""}.`,
    );
  }
  if (rule.expression?.fresh_s !== undefined)
    lines.push(`Inputs older than ${durationText(rule.expression.fresh_s)} give no value.`);
  if (rule.spread_min !== null && rule.spread_min !== undefined)
    lines.push(`A spread counts as at least ${numberText(rule.spread_min)}.`);
  if (rule.reopen_s > 0)
    lines.push(`True again within ${durationText(rule.reopen_s)}, it goes on in the same incident.`);
  for (const window of rule.silence ?? []) lines.push(`Raises nothing ${windowText(window)}.`);
  return lines;
}
