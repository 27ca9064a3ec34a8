/** Any field's value in words a person reads; what this page does not know is shown as JSON rather than hidden. */
import type { Location } from "../api/types.ts";
import { formatLocation } from "../lib/location.ts";
import { label } from "./texts.ts";

const isLocation = (value: unknown): value is Location =>
  typeof value === "object" &&
  value !== null &&
  "lat" in value &&
  "lon" in value &&
  typeof value.lat === "number" &&
  typeof value.lon === "number";

/** Fields whose values are words of the interface with a label of their own. */
const LABELLED = new Set(["status", "severity", "category", "state"]);

export function valueText(field: string | undefined, value: unknown): string {
  if (value === null || value === undefined || value === "") return "empty";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return field !== undefined && LABELLED.has(field) ? label(value) : value;
  if (typeof value === "number") return String(value);
  if (isLocation(value)) return formatLocation(value);
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) {
    return value.length === 0 ? "empty" : value.join(", ");
  }
  return JSON.stringify(value);
}

export function Value({ field, value }: { field?: string | undefined; value: unknown }) {
  return <span className="whitespace-pre-wrap">{valueText(field, value)}</span>;
}

/** Six digits say more than most field sensors know, and hide the noise of binary fractions. */
export const numberText = (value: number): string => String(Number(value.toPrecision(6)));

/** UCUM codes that people write otherwise; the rest is readable as it is. */
const units: Record<string, string> = { Cel: "°C", "m/s2": "m/s²", "m3/s": "m³/s", "[degF]": "°F", deg: "°" };

export const unitText = (unit: string): string => units[unit] ?? unit;
