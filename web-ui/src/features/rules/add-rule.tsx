/** Adding a threshold rule. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import { CATEGORIES, type Rule, SEVERITIES } from "../../api/types.ts";
import { SelectField, TextField } from "../../ui/field.tsx";
import { errorsElsewhere, type FieldErrors, fieldErrors } from "../../ui/field-errors.ts";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { common, label } from "../../ui/texts.ts";
import { useFirstInvalid } from "../../ui/use-first-invalid.ts";
import { useWrite } from "../../ui/use-write.ts";
import { levelKeys, parseRule, type RuleForm, type RuleInput } from "./form.ts";
import { texts } from "./texts.ts";

const options = (values: readonly string[]) => values.map((value) => ({ value, label: label(value) }));

interface AddRuleProps {
  form: RuleForm;
  onForm: (form: RuleForm | null) => void;
  onAdded: (rule: Rule) => void;
}

export function AddRule({ form, onForm, onAdded }: AddRuleProps) {
  const [localErrors, setLocalErrors] = useState<FieldErrors>({});
  const client = useQueryClient();
  const write = useWrite((input: RuleInput, key) => api.post<Rule>(paths.rules(), input, key));
  const remoteErrors = fieldErrors(write.error);
  const errors: FieldErrors = { ...remoteErrors, ...localErrors };
  const formRef = useFirstInvalid(errors);
  const [raiseKey, clearKey] = levelKeys(form.direction);
  const shown = ["name", "match", "incident", "for_s", "hold_s", raiseKey, clearKey];
  const set = (field: keyof RuleForm) => (value: string) => onForm({ ...form, [field]: value });

  const submit = async () => {
    const parsed = parseRule(form);
    setLocalErrors("errors" in parsed ? parsed.errors : {});
    if ("errors" in parsed) return;
    const rule = await write.run(parsed.input);
    if (rule === null) return;
    await client.invalidateQueries({ queryKey: keys.rules.all() });
    onAdded(rule);
  };

  return (
    <form
      ref={formRef}
      noValidate
      aria-label={texts.add}
      className="card grid gap-4 p-4"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {write.error !== null && <ErrorNotice error={write.error} />}
      {errorsElsewhere(remoteErrors, shown).map(([field, detail]) => (
        <Notice key={field} tone="bad" title={`${field}: ${detail}`} />
      ))}
      <TextField label={texts.name} value={form.name} onChange={set("name")} error={errors.name} required />
      <div className="grid gap-4 sm:grid-cols-2">
        <TextField
          label={texts.device}
          hint={texts.deviceHint}
          value={form.device}
          onChange={set("device")}
          error={errors["match.device"]}
          required
        />
        <TextField
          label={texts.channel}
          value={form.channel}
          onChange={set("channel")}
          error={errors["match.channel"]}
          required
        />
      </div>
      <div className="grid gap-4 sm:grid-cols-3">
        <SelectField
          label={texts.direction}
          value={form.direction}
          onChange={(direction) => onForm({ ...form, direction: direction === "below" ? "below" : "above" })}
          options={[
            { value: "above", label: texts.above },
            { value: "below", label: texts.below },
          ]}
        />
        <TextField label={texts.raise} value={form.raise} onChange={set("raise")} error={errors[raiseKey]} required />
        <TextField
          label={texts.clear}
          hint={form.direction === "above" ? texts.clearHintAbove : texts.clearHintBelow}
          value={form.clear}
          onChange={set("clear")}
          error={errors[clearKey]}
          required
        />
      </div>
      <div className="grid grid-cols-2 gap-4">
        <TextField
          label={texts.forS}
          inputMode="numeric"
          value={form.forS}
          onChange={set("forS")}
          error={errors.for_s}
        />
        <TextField
          label={texts.holdS}
          inputMode="numeric"
          value={form.holdS}
          onChange={set("holdS")}
          error={errors.hold_s}
        />
      </div>
      <TextField
        label={texts.incidentTitle}
        hint={texts.incidentTitleHint}
        value={form.title}
        onChange={set("title")}
        error={errors["incident.title"]}
        required
      />
      <div className="grid gap-4 sm:grid-cols-2">
        <SelectField
          label={texts.severity}
          value={form.severity}
          onChange={set("severity")}
          options={options(SEVERITIES)}
          error={errors["incident.severity"]}
        />
        <SelectField
          label={texts.category}
          value={form.category}
          onChange={set("category")}
          options={options(CATEGORIES)}
          error={errors["incident.category"]}
        />
      </div>
      <div className="flex flex-wrap items-center gap-3">
        <button type="submit" className="button button-primary" aria-disabled={write.saving}>
          {texts.submit}
        </button>
        <button type="button" className="button" onClick={() => onForm(null)}>
          {common.cancel}
        </button>
        <p aria-live="polite" className="font-semibold">
          {write.saving && common.saving}
        </p>
      </div>
    </form>
  );
}
