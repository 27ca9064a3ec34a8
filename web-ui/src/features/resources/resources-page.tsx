/** Resources: what there is, whether it is free, and adding more. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useResources } from "../../api/queries.ts";
import type { Resource } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { lastChange, Provenance } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { TextField } from "../../ui/field.tsx";
import { fieldErrors } from "../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../ui/form.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { SaveState } from "../../ui/save-state.tsx";
import { common, label } from "../../ui/texts.ts";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

export function ResourcesPage() {
  const resources = useResources();
  const [draft, setDraft] = useDraft<ResourceForm>("resource.new");
  const [added, setAdded] = useState<string | null>(null);
  const saved = resources.data?.find((resource) => resource.id === added) ?? null;
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1>{texts.title}</h1>
        {draft === null && (
          <button type="button" className="button button-primary max-sm:w-full" onClick={() => setDraft(emptyForm)}>
            {texts.add}
          </button>
        )}
      </div>
      <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      <SaveState saving={false} saved={saved} />
      {draft !== null && (
        <AddResource
          form={draft}
          onForm={setDraft}
          onAdded={(resource) => {
            setDraft(null);
            setAdded(resource.id);
          }}
        />
      )}
      <ListState query={resources} empty={texts.empty}>
        <ul aria-label={texts.title} className="grid gap-2 lg:grid-cols-2">
          {resources.data?.map((resource) => (
            <ResourceRow key={resource.id} resource={resource} />
          ))}
        </ul>
      </ListState>
    </div>
  );
}

const statusTone = { available: "ok", assigned: "accent", out_of_service: "warn" } as const;

function ResourceRow({ resource }: { resource: Resource }) {
  const tone = statusTone[resource.status as keyof typeof statusTone] ?? "plain";
  const facts = [resource.kind, resource.type, resource.organisation].filter((fact) => fact);
  const conflict = resource.conflicts[0];
  return (
    <li className="card p-3 sm:px-4">
      <div className="flex flex-wrap items-start justify-between gap-2">
        <h2 className="min-w-0">{resource.name}</h2>
        <span className="flex gap-2">
          {conflict && (
            <Link to={`/conflicts/${conflict.conflict}`}>
              <Tag tone="bad">{texts.conflict}</Tag>
            </Link>
          )}
          <Tag tone={tone}>{label(resource.status)}</Tag>
        </span>
      </div>
      {facts.length > 0 && <p>{facts.join(" · ")}</p>}
      {resource.out_of_service && <p className="text-warn">{texts.outOfService(resource.out_of_service)}</p>}
      <p className="text-sm text-ink-soft">
        {texts.updated}: <Provenance {...lastChange(resource)} unsigned={common.commandLine} />
      </p>
    </li>
  );
}

interface ResourceForm {
  name: string;
  kind: string;
  type: string;
  organisation: string;
}

const emptyForm: ResourceForm = { name: "", kind: "", type: "", organisation: "" };
const FIELDS = ["name", "kind", "type", "organisation"] as const;

interface AddResourceProps {
  form: ResourceForm;
  onForm: (form: ResourceForm | null) => void;
  onAdded: (resource: Resource) => void;
}

function AddResource({ form, onForm, onAdded }: AddResourceProps) {
  const client = useQueryClient();
  const write = useWrite((input: Partial<ResourceForm>, key) => api.post<Resource>(paths.resources(), input, key));
  const remote = fieldErrors(write.error);
  const { errors, setLocal, ref } = useFormErrors(remote);
  const set = (field: keyof ResourceForm) => (value: string) => onForm({ ...form, [field]: value });

  const submit = async () => {
    if (form.name.trim() === "") return setLocal({ name: texts.nameMissing });
    setLocal({});
    const filled = FIELDS.map((field) => [field, form[field].trim()]).filter(([, value]) => value !== "");
    const resource = await write.run(Object.fromEntries(filled) as Partial<ResourceForm>);
    if (resource === null) return;
    await client.invalidateQueries({ queryKey: keys.resources.all() });
    onAdded(resource);
  };

  return (
    <form
      ref={ref}
      noValidate
      aria-label={texts.add}
      className="card grid gap-4 p-4"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {write.error !== null && <ErrorNotice error={write.error} />}
      <UnshownErrors errors={remote} shown={FIELDS} />
      <div className="grid gap-4 sm:grid-cols-2">
        <TextField
          label={texts.name}
          hint={texts.nameHint}
          value={form.name}
          onChange={set("name")}
          error={errors.name}
          required
        />
        <TextField
          label={texts.organisation}
          optional
          value={form.organisation}
          onChange={set("organisation")}
          error={errors.organisation}
        />
        <TextField
          label={texts.kind}
          optional
          hint={texts.kindHint}
          value={form.kind}
          onChange={set("kind")}
          error={errors.kind}
        />
        <TextField
          label={texts.type}
          optional
          hint={texts.typeHint}
          value={form.type}
          onChange={set("type")}
          error={errors.type}
        />
      </div>
      <FormActions submit={texts.submit} saving={write.saving} onCancel={() => onForm(null)} />
    </form>
  );
}
