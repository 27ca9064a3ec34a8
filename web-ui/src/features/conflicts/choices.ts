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
