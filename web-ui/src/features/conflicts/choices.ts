/** Joins the values of a conflict with the choices it offers. Pure. */
import type { Conflict, ConflictValue } from "../../api/types.ts";
import { valueText } from "../../ui/value.tsx";

export interface Candidate {
  /** null: this value cannot be chosen as it is, only entered anew. */
  choice: string | null;
  text: string;
  value: ConflictValue;
}

export function candidates(conflict: Conflict, field: string | undefined): Candidate[] {
  const offered = new Set(conflict.choices.map(({ id }) => id));
  return conflict.values.map((value) => ({
    choice: offered.has(value.choice) ? value.choice : null,
    text: valueText(field, value.value),
    value,
  }));
}

/** Choices that belong to no value, such as "keep both" of kinds that are not about a field. */
export const otherChoices = (conflict: Conflict, shown: Candidate[]) =>
  conflict.choices.filter((choice) => !shown.some((candidate) => candidate.choice === choice.id));

/** How another value of a field is typed. null: not at all here. The parts of a rule's formula or of a curve only make
 * sense together, and have a form of their own. */
export type Entering = "location" | "number" | "words" | null;

export function entering(field: string, values: readonly ConflictValue[]): Entering {
  if (field === "location") return "location";
  const given = values.map(({ value }) => value).filter((value) => value !== null);
  if (given.some((value) => typeof value === "number")) return "number";
  return given.every((value) => typeof value === "string") ? "words" : null;
}

/** Where a document can be looked at and edited; null where the page has no place for it. */
export function pageOf(kind: string | null, id: string | null): string | null {
  const pages: Record<string, string> = { incident: "incidents", rule: "rules", device: "devices" };
  const page = kind === null ? undefined : pages[kind];
  return id === null || page === undefined ? null : `/${page}/${id}`;
}
