/** What is wrong with a form, by field: what the page found itself, and what the node refused. */
import { type RefObject, useEffect, useRef, useState } from "react";
import type { FieldErrors } from "./field-errors.ts";

interface FormErrors {
  /** For the fields. What the page found last stands before what the node said earlier. */
  errors: FieldErrors;
  setLocal: (found: FieldErrors) => void;
  /** For the form: after a refusal the focus goes to the first field that needs a change, where a screen reader reads
   * why. */
  ref: RefObject<HTMLFormElement | null>;
}

/** `remote`: what the node said, of `fieldErrors`. */
export function useFormErrors(remote: FieldErrors): FormErrors {
  const [local, setLocal] = useState<FieldErrors>({});
  const ref = useRef<HTMLFormElement>(null);
  const errors = { ...remote, ...local };
  const which = Object.keys(errors).join(" ");
  useEffect(() => {
    if (which !== "") ref.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [which]);
  return { errors, setLocal, ref };
}
