/** Editing. The patch names the version that the person saw when they began; what others wrote since is merged by the
 * node, and a field that both changed becomes a conflict for people to settle rather than a lost edit.
 *
 * Invariant: the draft is dropped only after the node has stored it, or when the person discards it. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Incident, IncidentInput } from "../../api/types.ts";
import { buildMergePatch, changedFields } from "../../lib/merge-patch.ts";
import { fieldErrors } from "../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../ui/form.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { fieldLabel } from "../../ui/texts.ts";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { useWrite } from "../../ui/use-write.ts";
import { valueText } from "../../ui/value.tsx";
import { formOf, type IncidentForm, inputOf, parseForm } from "./form.ts";
import { IncidentFields, SHOWN_FIELDS } from "./incident-fields.tsx";
import { texts } from "./texts.ts";

export interface EditDraft {
  /** The version on the screen when the edit began. */
  version: string;
  seen: IncidentInput;
  form: IncidentForm;
}

export function startEdit(incident: Incident): EditDraft {
  const seen = inputOf(incident);
  return { version: incident.version, seen, form: formOf(seen) };
}

interface EditIncidentProps {
  incident: Incident;
  draft: EditDraft;
  /** Typed before this page was opened. */
  restored?: boolean;
  onDraft: (draft: EditDraft | null) => void;
  onSaved: () => void;
}

export function EditIncident({ incident, draft, restored = false, onDraft, onSaved }: EditIncidentProps) {
  const [unchanged, setUnchanged] = useState(false);
  const client = useQueryClient();
  const write = useWrite(({ version, patch }: { version: string; patch: Partial<IncidentInput> }) =>
    api.patch<Incident>(paths.incident(incident.id), version, patch),
  );
  const remote = fieldErrors(write.error);
  const { errors, setLocal, ref } = useFormErrors(remote);
  const versionUnknown = write.error instanceof ApiError && write.error.code === "version-unknown";

  const save = async (base: "seen" | "current") => {
    const parsed = parseForm(draft.form);
    setUnchanged(false);
    setLocal("errors" in parsed ? parsed.errors : {});
    if ("errors" in parsed) return;
    const patch = buildMergePatch(draft.seen, parsed.input);
    if (Object.keys(patch).length === 0) {
      setUnchanged(true);
      return;
    }
    const answer = await write.run({ version: base === "seen" ? draft.version : incident.version, patch });
    if (answer === null) return;
    client.setQueryData(keys.incidents.one(incident.id), answer);
    void client.invalidateQueries({ queryKey: keys.incidents.all() });
    void client.invalidateQueries({ queryKey: keys.conflicts.all() });
    onSaved();
  };

  const current = inputOf(incident);
  const changedByOthers = incident.version === draft.version ? [] : changedFields(draft.seen, current);

  return (
    <form
      ref={ref}
      noValidate
      aria-labelledby="edit-incident"
      className="card grid gap-4 p-4"
      onSubmit={(event) => {
        event.preventDefault();
        void save("seen");
      }}
    >
      <h2 id="edit-incident">{texts.editTitle}</h2>
      {restored && <Notice tone="info" role="status" title={texts.draftKept} />}
      <div aria-live="polite">
        {changedByOthers.length > 0 && (
          <Notice tone="warn" title={texts.changedMeanwhile}>
            <ul className="list-disc pl-6">
              {changedByOthers.map((field) => (
                <li key={field}>{texts.changedField(fieldLabel(field), valueText(field, current[field]))}</li>
              ))}
            </ul>
            <p className="mt-1">{texts.changedHint}</p>
          </Notice>
        )}
      </div>
      {write.error !== null && (
        <ErrorNotice
          error={write.error}
          action={
            versionUnknown && (
              <button type="button" className="button" onClick={() => void save("current")}>
                {texts.saveOnTop}
              </button>
            )
          }
        />
      )}
      <UnshownErrors errors={remote} shown={SHOWN_FIELDS} />
      <IncidentFields form={draft.form} onChange={(form) => onDraft({ ...draft, form })} errors={errors} />
      <FormActions
        submit={texts.save}
        saving={write.saving}
        status={unchanged && texts.nothingChanged}
        onCancel={() => onDraft(null)}
        cancel={texts.discard}
      />
    </form>
  );
}
