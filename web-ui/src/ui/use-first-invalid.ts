/** After a refused form the focus goes to the first field that needs a change, where a screen reader reads why. */
import { type RefObject, useEffect, useRef } from "react";
import type { FieldErrors } from "./field-errors.ts";

export function useFirstInvalid(errors: FieldErrors): RefObject<HTMLFormElement | null> {
  const form = useRef<HTMLFormElement>(null);
  const which = Object.keys(errors).join(" ");
  useEffect(() => {
    if (which !== "") form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [which]);
  return form;
}
