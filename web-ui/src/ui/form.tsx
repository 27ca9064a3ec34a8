/** What the forms of this page have in common, beside their fields. */
import type { ReactNode } from "react";
import { type FieldErrors, unshownErrors } from "./field-errors.ts";
import { Notice } from "./notice.tsx";
import { common } from "./texts.ts";

/** What the node refused and no field of the form shows: it must not be lost. `shown`: the keys of its fields. */
export function UnshownErrors({ errors, shown }: { errors: FieldErrors; shown: Iterable<string> }) {
  return unshownErrors(errors, new Set(shown)).map(([field, detail]) => (
    <Notice key={field} tone="bad" role="alert" title={field === "" ? detail : `${field}: ${detail}`} />
  ));
}

interface FormActionsProps {
  /** On the button that saves. */
  submit: string;
  saving: boolean;
  /** What there is to say while nothing is being saved. */
  status?: ReactNode;
  /** Drops what was typed; without it there is no such button. */
  onCancel?: () => void;
  cancel?: string;
}

/** The end of a form. The button stays in reach while it saves: one that is disabled would lose the focus. */
export function FormActions({ submit, saving, status, onCancel, cancel = common.cancel }: FormActionsProps) {
  return (
    <div className="flex flex-wrap items-center gap-3">
      <button type="submit" className="button button-primary max-sm:w-full" aria-disabled={saving}>
        {submit}
      </button>
      {onCancel && (
        <button type="button" className="button max-sm:w-full" onClick={onCancel}>
          {cancel}
        </button>
      )}
      <p aria-live="polite" className="font-semibold empty:h-0">
        {saving ? common.saving : status}
      </p>
    </div>
  );
}
