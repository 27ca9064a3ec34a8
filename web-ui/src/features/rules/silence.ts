/** Windows of silence between the form, the node and words. Pure.
 *
 * Dates are typed in the time of this device and sent as moments; hours of the day carry the offset from UTC that they
 * were meant in, because they come again and the node knows no time zones. */
import type { Rule, RuleWindow } from "../../api/types.ts";
import { toLocal, toMoment } from "../../lib/local-time.ts";
import { texts } from "./texts.ts";

/** Both: hours of the day, within a range of dates. */
export type WindowMode = "range" | "daily" | "both";

export interface WindowForm {
  mode: WindowMode;
  /** As `datetime-local` has it, in the time of this device. */
  from: string;
  to: string;
  /** 22:00 */
  dailyFrom: string;
  dailyTo: string;
  /** Words of `DAYS`; none means every day. */
  days: string[];
  offset: string;
}

export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;

/** Of this device, now: `+01:00`. */
export function localOffset(at: Date = new Date()): string {
  const minutes = -at.getTimezoneOffset();
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
}

export const newWindow = (): WindowForm => ({
  mode: "daily",
  from: "",
  to: "",
  dailyFrom: "22:00",
  dailyTo: "06:00",
  days: [],
  offset: localOffset(),
});

export function parseWindow(form: WindowForm, at: string, errors: Record<string, string>): RuleWindow {
  const window: RuleWindow = {};
  if (form.mode !== "daily") {
    const [from, to] = [toMoment(form.from), toMoment(form.to)];
    if (from === null) errors[`${at}.from`] = texts.missing;
    else window.from = from;
    if (to === null) errors[`${at}.to`] = texts.missing;
    else window.to = to;
    if (from !== null && to !== null && Date.parse(from) >= Date.parse(to)) errors[`${at}.to`] = texts.endsBefore;
  }
  if (form.mode !== "range") {
    const hour = (key: "daily_from" | "daily_to", text: string) => {
      if (/^([01]\d|2[0-3]):[0-5]\d$/.test(text)) window[key] = text;
      else errors[`${at}.${key}`] = texts.timeOfDay;
    };
    hour("daily_from", form.dailyFrom);
    hour("daily_to", form.dailyTo);
    if (form.days.length > 0 && form.days.length < DAYS.length)
      window.days = DAYS.filter((day) => form.days.includes(day)).join(" ");
    const offset = form.offset.trim();
    if (/^(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/.test(offset)) window.offset = offset;
    else errors[`${at}.offset`] = texts.offsetWrong;
  }
  return window;
}

type Window = NonNullable<Rule["silence"]>[number];

export const formOfWindow = (window: Window): WindowForm => ({
  mode: window.daily_from === undefined ? "range" : window.from === undefined ? "daily" : "both",
  from: window.from === undefined ? "" : toLocal(window.from),
  to: window.to === undefined ? "" : toLocal(window.to),
  dailyFrom: window.daily_from ?? "22:00",
  dailyTo: window.daily_to ?? "06:00",
  days: window.days?.split(/\s+/).filter((day) => day !== "") ?? [],
  offset: window.offset ?? (window.daily_from === undefined ? localOffset() : "Z"),
});

/** `sat, sun from 22:00 to 06:00 (+01:00)`. */
export function windowText(window: Window, now: Date = new Date()): string {
  const parts: string[] = [];
  if (window.daily_from !== undefined && window.daily_to !== undefined) {
    const days = window.days === undefined ? texts.everyDay : window.days.split(/\s+/).map(texts.day).join(", ");
    const offset = window.offset ?? "Z";
    const zone = offset === localOffset(now) ? "" : ` (${offset === "Z" ? "UTC" : offset})`;
    parts.push(texts.daily(days, window.daily_from, window.daily_to) + zone);
  }
  const moment = (at: string) => new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  if (window.from !== undefined && window.to !== undefined)
    parts.push(texts.between(moment(window.from), moment(window.to)));
  else if (window.from !== undefined) parts.push(texts.since(moment(window.from)));
  else if (window.to !== undefined) parts.push(texts.until(moment(window.to)));
  return parts.join(", ");
}
