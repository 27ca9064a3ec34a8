/** Joins the values of a conflict with the choices it offers. Pure. */
import type { Conflict, ConflictValue } from "../../api/types.ts";
import { valueText } from "../../ui/value.tsx";

export interface Candidate {
  /** null: this value cannot be chosen as it is, only entered anew. */
  choice: string | null;
  text: string;
  value: ConflictValue;
}

/** A choice carries the value's label, or stands at the same place in a list of the same length. */
export function candidates(conflict: Conflict, field: string | undefined): Candidate[] {
  const { values, choices } = conflict;
  return values.map((value, index) => {
    const byPlace = choices.length === values.length ? choices[index] : undefined;
    const byLabel = choices.filter((choice) => choice.label === value.value);
    const choice = byPlace ?? (byLabel.length === 1 ? byLabel[0] : undefined);
    return { choice: choice?.id ?? null, text: valueText(field, value.value), value };
  });
}

/** Choices that belong to no value, such as "keep both" of kinds that are not about a field. */
export const otherChoices = (conflict: Conflict, shown: Candidate[]) =>
  conflict.choices.filter((choice) => !shown.some((candidate) => candidate.choice === choice.id));
