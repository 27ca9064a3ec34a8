/** The fields of an incident, for reporting and for editing. */
import { useState } from "react";
import { CATEGORIES, INCIDENT_STATUSES, SEVERITIES } from "../../api/types.ts";
import { SelectField, TextField } from "../../ui/field.tsx";
import type { FieldErrors } from "../../ui/field-errors.ts";
import { common, label } from "../../ui/texts.ts";
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
  const locationError = errors["location.lat"] || errors["location.lon"] ? undefined : errors.location;
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
      <fieldset className="grid gap-2">
        <legend className="mb-1 font-semibold">
          {texts.location} <span className="font-normal text-ink-soft">({common.optional})</span>
        </legend>
        <div className="grid grid-cols-2 gap-4">
          <TextField
            label={texts.lat}
            inputMode="text"
            value={form.lat}
            onChange={set("lat")}
            error={errors["location.lat"] ?? locationError}
          />
          <TextField
            label={texts.lon}
            inputMode="text"
            value={form.lon}
            onChange={set("lon")}
            error={errors["location.lon"]}
          />
        </div>
        <p className="text-sm text-ink-soft">{texts.locationHint}</p>
        <UsePosition onPosition={(lat, lon) => onChange({ ...form, lat, lon })} />
      </fieldset>
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

/** Browsers give the position only to pages from a trusted origin; elsewhere the button would never work. */
function UsePosition({ onPosition }: { onPosition: (lat: string, lon: string) => void }) {
  const [failed, setFailed] = useState(false);
  if (!window.isSecureContext || !("geolocation" in navigator)) return null;
  return (
    <div>
      <button
        type="button"
        className="button"
        onClick={() => {
          setFailed(false);
          navigator.geolocation.getCurrentPosition(
            ({ coords }) => onPosition(coords.latitude.toFixed(6), coords.longitude.toFixed(6)),
            () => setFailed(true),
            { enableHighAccuracy: true, timeout: 20_000, maximumAge: 30_000 },
          );
        }}
      >
        {texts.usePosition}
      </button>
      {failed && (
        <p role="alert" className="mt-1 font-semibold text-bad">
          {texts.positionFailed}
        </p>
      )}
    </div>
  );
}
