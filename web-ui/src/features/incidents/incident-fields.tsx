/** The fields of an incident, for reporting and for editing. */
import { CATEGORIES, INCIDENT_STATUSES, SEVERITIES } from "../../api/types.ts";
import { SelectField, TextField } from "../../ui/field.tsx";
import type { FieldErrors } from "../../ui/field-errors.ts";
import { LocationFields } from "../../ui/location-fields.tsx";
import { label } from "../../ui/texts.ts";
import type { IncidentForm } from "./form.ts";
import { texts } from "./texts.ts";

const options = (values: readonly string[]) => values.map((value) => ({ value, label: label(value) }));
const statuses = options(INCIDENT_STATUSES);
const severities = options(SEVERITIES);
const categories = options(CATEGORIES);

/** Fields at which a 422 can be shown; other errors go above the form. */
export const SHOWN_FIELDS = ["title", "category", "status", "severity", "description", "location", "tags"];

interface IncidentFieldsProps {
  form: IncidentForm;
  onChange: (form: IncidentForm) => void;
  errors: FieldErrors;
}

export function IncidentFields({ form, onChange, errors }: IncidentFieldsProps) {
  const set = (field: keyof IncidentForm) => (value: string) => onChange({ ...form, [field]: value });
  return (
    <div className="grid gap-4">
      <TextField
        label={texts.titleField}
        hint={texts.titleHint}
        value={form.title}
        onChange={set("title")}
        error={errors.title}
        required
      />
      <div className="grid gap-4 sm:grid-cols-3">
        <SelectField
          label={texts.severity}
          value={form.severity}
          onChange={set("severity")}
          options={severities}
          error={errors.severity}
        />
        <SelectField
          label={texts.status}
          value={form.status}
          onChange={set("status")}
          options={statuses}
          error={errors.status}
        />
        <SelectField
          label={texts.category}
          value={form.category}
          onChange={set("category")}
          options={categories}
          error={errors.category}
        />
      </div>
      <TextField
        label={texts.description}
        optional
        value={form.description}
        onChange={set("description")}
        error={errors.description}
        rows={5}
      />
      <LocationFields text={form} onChange={(location) => onChange({ ...form, ...location })} errors={errors} />
      <TextField
        label={texts.tags}
        optional
        hint={texts.tagsHint}
        value={form.tags}
        onChange={set("tags")}
        error={errors.tags}
      />
    </div>
  );
}
