/** Reporting: one form, kept while it is typed, sent once. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Incident, IncidentInput } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { errorsElsewhere, type FieldErrors, fieldErrors } from "../../ui/field-errors.ts";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { common } from "../../ui/texts.ts";
import { useFirstInvalid } from "../../ui/use-first-invalid.ts";
import { useWrite } from "../../ui/use-write.ts";
import { creationOf, emptyForm, type IncidentForm, parseForm } from "./form.ts";
import { IncidentFields, SHOWN_FIELDS } from "./incident-fields.tsx";
import { texts } from "./texts.ts";

export function ReportPage() {
  const [draft, setDraft] = useDraft<IncidentForm>("incident.new");
  const [restored] = useState(draft !== null);
  const [localErrors, setLocalErrors] = useState<FieldErrors>({});
  const client = useQueryClient();
  const navigate = useNavigate();
  const write = useWrite((input: Partial<IncidentInput>, key) => api.post<Incident>(paths.incidents(), input, key));
  const form = draft ?? emptyForm;
  const remoteErrors = fieldErrors(write.error);
  const errors: FieldErrors = { ...remoteErrors, ...localErrors };
  const formRef = useFirstInvalid(errors);

  const submit = async () => {
    const parsed = parseForm(form);
    if ("errors" in parsed) {
      setLocalErrors(parsed.errors);
      return;
    }
    setLocalErrors({});
    const incident = await write.run(creationOf(parsed.input));
    if (incident === null) return;
    setDraft(null);
    client.setQueryData(keys.incidents.one(incident.id), incident);
    void client.invalidateQueries({ queryKey: keys.incidents.all() });
    navigate(`/incidents/${incident.id}`, { replace: true, state: { saved: true } });
  };

  return (
    <form
      ref={formRef}
      noValidate
      className="grid max-w-3xl gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <div>
        <Link className="link inline-flex min-h-10 items-center" to="/incidents">
          ← {texts.back}
        </Link>
        <h1>{texts.report}</h1>
        <p className="text-ink-soft">{texts.reportLead}</p>
      </div>
      {restored && <Notice tone="info" role="status" title={texts.reportDraftKept} />}
      {write.error !== null && <ErrorNotice error={write.error} />}
      {errorsElsewhere(remoteErrors, SHOWN_FIELDS).map(([field, detail]) => (
        <Notice key={field} tone="bad" title={`${field}: ${detail}`} />
      ))}
      <IncidentFields form={form} onChange={setDraft} errors={errors} />
      <div className="flex flex-wrap items-center gap-3">
        <button type="submit" className="button button-primary max-sm:w-full" aria-disabled={write.saving}>
          {texts.reportSubmit}
        </button>
        <button
          type="button"
          className="button max-sm:w-full"
          onClick={() => {
            setDraft(null);
            navigate("/incidents");
          }}
        >
          {common.cancel}
        </button>
        <p aria-live="polite" className="font-semibold">
          {write.saving && common.saving}
        </p>
      </div>
    </form>
  );
}
