/** A calibration between what a person types and what the node takes. Pure. */
import type { Calibration, CalibrationCurve, CalibrationInput } from "../../../api/types.ts";
import { toMoment } from "../../../lib/local-time.ts";
import { numberText } from "../../../ui/value.tsx";
import { texts } from "./texts.ts";

export interface PointForm {
  raw: string;
  value: string;
}

export interface CalibrationForm {
  kind: "line" | "points";
  scale: string;
  offset: string;
  points: PointForm[];
  /** Of the raw values and of what they mean; empty: whatever the sensor says. */
  unit: string;
  /** As `datetime-local` has it; empty: from the first reading on. */
  validFrom: string;
  note: string;
}

/** As many as the node takes. */
export const POINTS_MAX = 64;
const POINTS_MIN = 2;

export const emptyPoint: PointForm = { raw: "", value: "" };

export const emptyCalibration: CalibrationForm = {
  kind: "line",
  scale: "1",
  offset: "0",
  points: [emptyPoint, emptyPoint],
  unit: "",
  validFrom: "",
  note: "",
};

const toNumber = (text: string): number => (text.trim() === "" ? Number.NaN : Number(text.trim().replace(",", ".")));

type Of = Pick<CalibrationInput, "device" | "channel">;

/** Keys of errors are those of the node's own answers. */
export function parseCalibration(
  form: CalibrationForm,
  of: Of,
): { input: CalibrationInput } | { errors: Record<string, string> } {
  const errors: Record<string, string> = {};
  const number = (key: string, text: string) => {
    const value = toNumber(text);
    if (!Number.isFinite(value)) errors[key] = texts.number;
    return value;
  };
  const curve: CalibrationCurve =
    form.kind === "line"
      ? { scale: number("curve.scale", form.scale), offset: number("curve.offset", form.offset) }
      : { points: pointsOf(form.points, number, errors) };
  const validFrom = form.validFrom === "" ? null : toMoment(form.validFrom);
  if (form.validFrom !== "" && validFrom === null) errors.valid_from = texts.time;
  if (Object.keys(errors).length > 0) return { errors };
  const input: CalibrationInput = { ...of, curve };
  if (validFrom !== null) input.valid_from = validFrom;
  if (form.unit.trim() !== "") input.unit = form.unit.trim();
  if (form.note.trim() !== "") input.note = form.note.trim();
  return { input };
}

/** In the order of their raw values: nobody has to write them down sorted. */
function pointsOf(
  forms: readonly PointForm[],
  number: (key: string, text: string) => number,
  errors: Record<string, string>,
): { raw: number; value: number }[] {
  const points = forms.map((point, index) => ({
    raw: number(`curve.points.${index}.raw`, point.raw),
    value: number(`curve.points.${index}.value`, point.value),
  }));
  if (points.length < POINTS_MIN) errors["curve.points"] = texts.pointsMin;
  points.forEach(({ raw }, index) => {
    if (points.findIndex((other) => other.raw === raw) < index) errors[`curve.points.${index}.raw`] = texts.rawTwice;
  });
  return points.toSorted((a, b) => a.raw - b.raw);
}

/** What a reading of `raw` would be; null where the form does not say. Beyond the points it goes on as their last two
 * do, as the node does it. */
export function applied(curve: CalibrationCurve, raw: number): number | null {
  const { points } = curve;
  if (!points) return raw * (curve.scale ?? 1) + (curve.offset ?? 0);
  const after = points.findIndex((point, index) => index > 0 && (raw <= point.raw || index === points.length - 1));
  const [a, b] = [points[after - 1], points[after]];
  if (a === undefined || b === undefined || a.raw === b.raw) return null;
  return a.value + ((raw - a.raw) / (b.raw - a.raw)) * (b.value - a.value);
}

export function curveText(curve: Calibration["curve"]): string {
  if (curve === null) return texts.noCurve;
  const { points } = curve;
  if (points && points.length > 0)
    return texts.points(
      points.length,
      points.map((point) => `${numberText(point.raw)} → ${numberText(point.value)}`).join(", "),
    );
  const offset = curve.offset ?? 0;
  const sign = offset < 0 ? "−" : "+";
  return texts.line(numberText(curve.scale ?? 1), offset === 0 ? "" : ` ${sign} ${numberText(Math.abs(offset))}`);
}

/** Newest first; among those of one time the one that counts. */
export const inOrder = (calibrations: readonly Calibration[]): Calibration[] =>
  calibrations.toSorted((a, b) => {
    const from = (each: Calibration) =>
      each.valid_from === null ? Number.NEGATIVE_INFINITY : Date.parse(each.valid_from);
    const [ofA, ofB] = [from(a), from(b)];
    if (ofA !== ofB) return ofB > ofA ? 1 : -1;
    return Number(a.superseded_by !== null) - Number(b.superseded_by !== null);
  });

/** Keys of errors that the form shows at a field. */
export function shownKeys(form: CalibrationForm): ReadonlySet<string> {
  const points = form.points.flatMap((_, at) => [
    `curve.points.${at}`,
    `curve.points.${at}.raw`,
    `curve.points.${at}.value`,
  ]);
  const curve = form.kind === "line" ? ["curve.scale", "curve.offset"] : ["curve.points", ...points];
  return new Set(["unit", "valid_from", "note", ...curve]);
}
