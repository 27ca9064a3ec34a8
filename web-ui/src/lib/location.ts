/** Locations between the form's text and WGS 84 degrees. */
import type { Location } from "../api/types.ts";

export interface LocationText {
  lat: string;
  lon: string;
}

export type ParsedLocation = { value: Location | null; errors: { lat?: string; lon?: string } };

/** Decimal comma and a trailing degree sign are common on paper forms. */
const toNumber = (text: string): number => Number(text.trim().replace(",", ".").replace(/°$/, ""));

export function parseLocation(text: LocationText): ParsedLocation {
  const empty = { lat: text.lat.trim() === "", lon: text.lon.trim() === "" };
  if (empty.lat && empty.lon) return { value: null, errors: {} };
  const errors: ParsedLocation["errors"] = {};
  const [lat, lon] = [toNumber(text.lat), toNumber(text.lon)];
  if (empty.lat) errors.lat = "Fill in both, or leave both empty.";
  else if (!(lat >= -90 && lat <= 90)) errors.lat = "A number from -90 to 90.";
  if (empty.lon) errors.lon = "Fill in both, or leave both empty.";
  else if (!(lon >= -180 && lon <= 180)) errors.lon = "A number from -180 to 180.";
  return Object.keys(errors).length > 0 ? { value: null, errors } : { value: { lat, lon }, errors };
}

export const locationText = (location: Location | null | undefined): LocationText =>
  location ? { lat: String(location.lat), lon: String(location.lon) } : { lat: "", lon: "" };

/** Five decimals are about a metre. */
export const formatLocation = (location: Location): string => `${location.lat.toFixed(5)}, ${location.lon.toFixed(5)}`;
