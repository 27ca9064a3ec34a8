/** From which level on an incident is graver. */
import { SEVERITIES } from "../../api/types.ts";
import { replaced, without } from "../../lib/list.ts";
import { SelectField, TextField } from "../../ui/field.tsx";
import { label } from "../../ui/texts.ts";
import { SEVERITIES_MAX, type StepForm } from "./form.ts";
import type { RuleFieldsProps } from "./rule-fields.tsx";
import { texts } from "./texts.ts";

export function StepFields({ form, onChange, errors, unit }: RuleFieldsProps & { unit: string | undefined }) {
  const setStep = (index: number, step: StepForm) =>
    onChange({ ...form, severities: replaced(form.severities, index, step) });
  return (
    <section aria-label={texts.steps} className="grid gap-3">
      <div>
        <p className="font-semibold">{texts.steps}</p>
        <p className="text-sm text-ink-soft">{texts.stepsHint}</p>
      </div>
      {form.severities.map((step, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: steps have no identity of their own but their place
        <div key={index} className="grid gap-3 rounded-lg bg-sunken p-3 sm:grid-cols-[1fr_1fr_auto] sm:items-end">
          <TextField
            label={texts.stepLevel(index)}
            inputMode="decimal"
            unit={unit}
            value={step.level}
            onChange={(level) => setStep(index, { ...step, level })}
            error={errors[`severities.${index}.level`] ?? errors[`severities.${index}`]}
            required
          />
          <SelectField
            label={texts.stepSeverity(index)}
            value={step.severity}
            onChange={(severity) => setStep(index, { ...step, severity })}
            options={SEVERITIES.map((value) => ({ value, label: label(value) }))}
            error={errors[`severities.${index}.severity`]}
          />
          <button
            type="button"
            className="button"
            onClick={() => onChange({ ...form, severities: without(form.severities, index) })}
          >
            {texts.removeStep(index)}
          </button>
        </div>
      ))}
      {form.severities.length < SEVERITIES_MAX && (
        <button
          type="button"
          className="button justify-self-start max-sm:w-full"
          onClick={() =>
            onChange({ ...form, severities: [...form.severities, { level: "", severity: form.severity }] })
          }
        >
          {texts.addStep}
        </button>
      )}
    </section>
  );
}
