/** The incident form between text that a person types and what the node takes. Pure. */
import type { Incident, IncidentInput } from "../../api/types.ts";
import { locationText, parseLocation } from "../../lib/location.ts";
import { texts } from "./texts.ts";

export interface IncidentForm {
  title: string;
  category: string;
  status: string;
  severity: string;
  description: string;
  lat: string;
  lon: string;
  /** Comma-separated. */
  tags: string;
}

export const emptyForm: IncidentForm = {
  title: "",
  category: "Other",
  status: "reported",
  severity: "unknown",
  description: "",
  lat: "",
  lon: "",
  tags: "",
};

/** The writable part of an incident, as it was seen. */
export const inputOf = (incident: Incident): IncidentInput => ({
  title: incident.title,
  category: incident.category,
  status: incident.status,
  severity: incident.severity,
  description: incident.description,
  location: incident.location,
  tags: incident.tags,
});

export const formOf = (input: IncidentInput): IncidentForm => ({
  title: input.title,
  category: input.category,
  status: input.status,
  severity: input.severity,
  description: input.description,
  ...locationText(input.location),
  tags: input.tags.join(", "),
});

export type ParsedForm = { input: IncidentInput } | { errors: Record<string, string> };

export function parseForm(form: IncidentForm): ParsedForm {
  const errors: Record<string, string> = {};
  const title = form.title.trim();
  if (title === "") errors.title = texts.titleMissing;
  const location = parseLocation({ lat: form.lat, lon: form.lon });
  if (location.errors.lat) errors["location.lat"] = location.errors.lat;
  if (location.errors.lon) errors["location.lon"] = location.errors.lon;
  if (Object.keys(errors).length > 0) return { errors };
  const tags = form.tags
    .split(",")
    .map((tag) => tag.trim())
    .filter((tag) => tag !== "");
  return {
    input: {
      title,
      category: form.category,
      status: form.status,
      severity: form.severity,
      description: form.description.trim() === "" ? "" : form.description,
      location: location.value,
      tags: [...new Set(tags)],
    },
  };
}

/** What a new report sends: nothing for what was left empty. */
export function creationOf(input: IncidentInput): Partial<IncidentInput> {
  const entries = Object.entries(input).filter(
    ([, value]) => value !== null && value !== "" && !(Array.isArray(value) && value.length === 0),
  );
  return Object.fromEntries(entries) as Partial<IncidentInput>;
}
