/** Any field's value in words a person reads; what this page does not know is shown as JSON rather than hidden. */
import type { Location } from "../api/types.ts";
import { formatLocation } from "../lib/location.ts";
import { fieldLabel, label } from "./texts.ts";

type Members = Record<string, unknown>;

const isObject = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isLocation = (value: Members): value is Members & Location =>
  typeof value.lat === "number" && typeof value.lon === "number";

/** Fields whose values are words of the interface with a label of their own. */
const LABELLED = new Set(["status", "severity", "category", "state"]);

function textOfObject(value: Members): string {
  if (isLocation(value)) return formatLocation(value);
  // A peak, and the source of an incident.
  if (typeof value.value === "number" && typeof value.at === "string") return numberText(value.value);
  if (typeof value.device === "string" && typeof value.channel === "string")
    return `${value.device} · ${value.channel}`;
  return JSON.stringify(value);
}

function textOfString(field: string | undefined, value: string): string {
  if (field !== undefined && LABELLED.has(field)) return label(value);
  if (field?.endsWith("_at") && !Number.isNaN(Date.parse(value))) return new Date(value).toLocaleString();
  return value;
}

/** Fields of several parts, of which a reader needs every one. */
const COMPOSITE = new Set(["incident", "expression", "severities", "silence", "curve"]);

/** All of it in words, nothing left away: two values that differ anywhere read differently. */
function partsText(name: string | undefined, value: unknown): string {
  if (Array.isArray(value)) return value.map((item) => partsText(undefined, item)).join("; ");
  if (!isObject(value)) return valueText(name, value);
  return Object.entries(value)
    .map(([part, inside]) => `${fieldLabel(part).toLowerCase()} ${partsText(part, inside)}`)
    .join(", ");
}

export function valueText(field: string | undefined, value: unknown): string {
  if (value === null || value === undefined || value === "") return "empty";
  if (field !== undefined && COMPOSITE.has(field) && typeof value === "object")
    return partsText(undefined, value) || "empty";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return textOfString(field, value);
  if (typeof value === "number") return String(value);
  if (Array.isArray(value)) {
    if (value.length === 0) return "empty";
    if (value.every((item) => typeof item === "string")) return value.join(", ");
    if (field === "evidence") return value.length === 1 ? "from one node" : `from ${value.length} nodes`;
  }
  return isObject(value) ? textOfObject(value) : JSON.stringify(value);
}

export function Value({ field, value }: { field?: string | undefined; value: unknown }) {
  return <span className="whitespace-pre-wrap">{valueText(field, value)}</span>;
}

/** Six digits say more than most field sensors know, and hide the noise of binary fractions. */
export const numberText = (value: number): string => String(Number(value.toPrecision(6)));

/** UCUM codes that people write otherwise; the rest is readable as it is. */
const units: Record<string, string> = {
  Cel: "°C",
  "[degF]": "°F",
  deg: "°",
  "m/s2": "m/s²",
  "m3/s": "m³/s",
  "ug/m3": "µg/m³",
  "mg/m3": "mg/m³",
  "[ppm]": "ppm",
  "[ppb]": "ppb",
};

export const unitText = (unit: string): string => units[unit] ?? unit;
