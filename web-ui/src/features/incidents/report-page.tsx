/** Reporting: one form, kept while it is typed, sent once. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Incident, IncidentInput } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { fieldErrors } from "../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../ui/form.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { useWrite } from "../../ui/use-write.ts";
import { creationOf, emptyForm, type IncidentForm, parseForm } from "./form.ts";
import { IncidentFields, SHOWN_FIELDS } from "./incident-fields.tsx";
import { texts } from "./texts.ts";

export function ReportPage() {
  const [draft, setDraft] = useDraft<IncidentForm>("incident.new");
  const [restored] = useState(draft !== null);
  const client = useQueryClient();
  const navigate = useNavigate();
  const write = useWrite((input: Partial<IncidentInput>, key) => api.post<Incident>(paths.incidents(), input, key));
  const form = draft ?? emptyForm;
  const remote = fieldErrors(write.error);
  const { errors, setLocal, ref } = useFormErrors(remote);

  const submit = async () => {
    const parsed = parseForm(form);
    if ("errors" in parsed) {
      setLocal(parsed.errors);
      return;
    }
    setLocal({});
    const incident = await write.run(creationOf(parsed.input));
    if (incident === null) return;
    setDraft(null);
    client.setQueryData(keys.incidents.one(incident.id), incident);
    void client.invalidateQueries({ queryKey: keys.incidents.all() });
    navigate(`/incidents/${incident.id}`, { replace: true, state: { saved: true } });
  };

  return (
    <form
      ref={ref}
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
      <UnshownErrors errors={remote} shown={SHOWN_FIELDS} />
      <IncidentFields form={form} onChange={setDraft} errors={errors} />
      <FormActions
        submit={texts.reportSubmit}
        saving={write.saving}
        onCancel={() => {
          setDraft(null);
          navigate("/incidents");
        }}
      />
    </form>
  );
}
