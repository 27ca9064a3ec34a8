/** Settling a conflict with a value that nobody had entered: the control that fits the field. */
import { useState } from "react";
import { ASSIGNMENT_STATES, CATEGORIES, INCIDENT_STATUSES, SEVERITIES } from "../../api/types.ts";
import { parseLocation } from "../../lib/location.ts";
import { SelectField, TextField } from "../../ui/field.tsx";
import { FormActions } from "../../ui/form.tsx";
import { common, fieldLabel, label } from "../../ui/texts.ts";
import type { Entering } from "./choices.ts";
import { texts } from "./texts.ts";

const enumerations: Record<string, readonly string[]> = {
  status: INCIDENT_STATUSES,
  severity: SEVERITIES,
  category: CATEGORIES,
  state: ASSIGNMENT_STATES,
};

interface DifferentValueProps {
  field: string;
  entering: NonNullable<Entering>;
  saving: boolean;
  onValue: (value: unknown) => void;
  onCancel: () => void;
}

export function DifferentValue({ field, entering, saving, onValue, onCancel }: DifferentValueProps) {
  const enumeration = enumerations[field];
  const [text, setText] = useState(enumeration?.[0] ?? "");
  const [location, setLocation] = useState({ lat: "", lon: "" });
  const [errors, setErrors] = useState<{ text?: string; lat?: string; lon?: string }>({});
  const name = texts.otherField(fieldLabel(field));

  const submit = () => {
    if (entering === "location") {
      const parsed = parseLocation(location);
      if (Object.keys(parsed.errors).length > 0) return setErrors(parsed.errors);
      if (parsed.value === null) return setErrors({ lat: texts.otherMissing });
      setErrors({});
      return onValue(parsed.value);
    }
    const trimmed = text.trim();
    if (trimmed === "") return setErrors({ text: texts.otherMissing });
    const number = Number(trimmed.replace(",", "."));
    if (entering === "number" && !Number.isFinite(number)) return setErrors({ text: texts.otherNumber });
    setErrors({});
    onValue(entering === "number" ? number : trimmed);
  };

  return (
    <form
      noValidate
      className="mt-3 grid max-w-xl gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {entering === "location" ? (
        <div className="grid grid-cols-2 gap-3">
          <TextField
            label={common.lat}
            value={location.lat}
            onChange={(lat) => setLocation({ ...location, lat })}
            error={errors.lat}
          />
          <TextField
            label={common.lon}
            value={location.lon}
            onChange={(lon) => setLocation({ ...location, lon })}
            error={errors.lon}
          />
        </div>
      ) : enumeration ? (
        <SelectField
          label={name}
          value={text}
          onChange={setText}
          options={enumeration.map((value) => ({ value, label: label(value) }))}
          error={errors.text}
        />
      ) : (
        <TextField label={name} value={text} onChange={setText} error={errors.text} />
      )}
      <FormActions submit={texts.otherSubmit} saving={saving} onCancel={onCancel} />
    </form>
  );
}
