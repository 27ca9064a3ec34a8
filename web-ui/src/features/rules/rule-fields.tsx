/** The fields of a rule: what to look for first, then only what belongs to that. */
import { useSeries } from "../../api/queries.ts";
import { CATEGORIES, RULE_KINDS, type RuleKind, SEVERITIES } from "../../api/types.ts";
import { DurationField, SelectField, TextField } from "../../ui/field.tsx";
import type { FieldErrors } from "../../ui/field-errors.ts";
import { label } from "../../ui/texts.ts";
import { unitText } from "../../ui/value.tsx";
import { ExpressionFields } from "./expression-fields.tsx";
import { type Direction, hasLevels, hasUnit, isMirrored, levelKeys, type RuleForm, withKind } from "./form.ts";
import { KindFields } from "./kind-fields.tsx";
import { channelNames, deviceNames, unitOf } from "./matching.ts";
import { SilenceFields } from "./silence-fields.tsx";
import { StepFields } from "./step-fields.tsx";
import { texts } from "./texts.ts";

export interface RuleFieldsProps {
  form: RuleForm;
  onChange: (form: RuleForm) => void;
  errors: FieldErrors;
}

const options = (values: readonly string[]) => values.map((value) => ({ value, label: label(value) }));

export function RuleFields({ form, onChange, errors }: RuleFieldsProps) {
  const series = useSeries();
  const set = (field: keyof RuleForm) => (value: string) => onChange({ ...form, [field]: value });
  const heard = unitOf({ device: form.device, channel: form.channel }, series.data);
  const valueUnit = hasUnit(form.kind) && form.unit.trim() !== "" ? form.unit.trim() : heard;
  const unit = levelUnit(form.kind, valueUnit);
  const isFormula = form.kind === "expression";
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <SelectField
        label={texts.kind}
        hint={texts.kinds[form.kind].hint}
        value={form.kind}
        onChange={(kind) => onChange(withKind(form, kind as RuleKind))}
        options={RULE_KINDS.map((value) => ({ value, label: texts.kinds[value].label }))}
        error={errors.kind}
      />
      <TextField label={texts.name} value={form.name} onChange={set("name")} error={errors.name} required />
      {isFormula && <ExpressionFields form={form} onChange={onChange} errors={errors} />}
      <div className="grid gap-4 sm:grid-cols-2">
        <TextField
          label={texts.device}
          hint={isFormula ? `${texts.deviceHint}. ${texts.deviceOfFormula}` : texts.deviceHint}
          value={form.device}
          onChange={set("device")}
          error={errors["match.device"]}
          suggestions={deviceNames(series.data)}
          autoComplete="off"
          required
        />
        <TextField
          label={texts.channel}
          hint={isFormula ? texts.channelOfFormula : form.kind === "no_data" ? texts.channelOfSilence : undefined}
          value={form.channel}
          onChange={set("channel")}
          error={errors["match.channel"]}
          suggestions={isFormula ? [] : channelNames(form.device, series.data)}
          autoComplete="off"
          required
        />
      </div>
      {hasUnit(form.kind) && (
        <TextField
          label={texts.unit}
          hint={texts.unitHint}
          value={form.unit}
          onChange={set("unit")}
          error={errors.unit}
          suggestions={heard === null ? [] : [heard]}
          autoComplete="off"
          optional
        />
      )}
      {hasLevels(form.kind) && <LevelFields form={form} onChange={onChange} errors={errors} unit={unit} />}
      <KindFields
        form={form}
        onChange={onChange}
        errors={errors}
        unit={valueUnit === null ? undefined : unitText(valueUnit)}
      />
      <fieldset className="grid gap-4 rounded-lg border border-line p-3">
        <legend className="px-1 font-semibold">{texts.timing}</legend>
        <div className="grid gap-4 sm:grid-cols-3">
          {hasLevels(form.kind) && (
            <DurationField
              label={texts.wait}
              hint={texts.waitHint}
              value={form.wait}
              onChange={(wait) => onChange({ ...form, wait })}
              error={errors.for_s}
            />
          )}
          <DurationField
            label={texts.hold}
            hint={texts.holdHint}
            value={form.hold}
            onChange={(hold) => onChange({ ...form, hold })}
            error={errors.hold_s}
          />
          <DurationField
            label={texts.reopen}
            hint={texts.reopenHint}
            value={form.reopen}
            onChange={(reopen) => onChange({ ...form, reopen })}
            error={errors.reopen_s}
          />
        </div>
      </fieldset>
      <fieldset className="grid gap-4 rounded-lg border border-line p-3">
        <legend className="px-1 font-semibold">{texts.incident}</legend>
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
        {hasLevels(form.kind) && <StepFields form={form} onChange={onChange} errors={errors} unit={unit} />}
      </fieldset>
      <SilenceFields form={form} onChange={onChange} errors={errors} />
    </div>
  );
}

/** What the levels of a kind are counted in. */
function levelUnit(kind: string, unit: string | null): string | undefined {
  if (kind === "deviation") return texts.spreads;
  if (kind === "sta_lta") return texts.ratio;
  return unit === null ? undefined : unitText(unit);
}

function LevelFields({ form, onChange, errors, unit }: RuleFieldsProps & { unit: string | undefined }) {
  const [raiseKey, clearKey] = levelKeys(form.direction);
  const words = texts.directions[form.kind] ?? {};
  const falls = form.direction === "below" && !isMirrored(form.kind, form.direction);
  return (
    <div className="grid gap-4 sm:grid-cols-3">
      <SelectField
        label={texts.direction}
        value={form.direction}
        onChange={(direction) => onChange({ ...form, direction: direction as Direction })}
        options={Object.entries(words).map(([value, text]) => ({ value, label: text }))}
      />
      <TextField
        label={texts.raise}
        inputMode="decimal"
        unit={unit}
        value={form.raise}
        onChange={(raise) => onChange({ ...form, raise })}
        error={errors[raiseKey]}
        required
      />
      <TextField
        label={texts.clear}
        hint={falls ? texts.clearHintBelow : texts.clearHintAbove}
        inputMode="decimal"
        unit={unit}
        value={form.clear}
        onChange={(clear) => onChange({ ...form, clear })}
        error={errors[clearKey]}
        required
      />
    </div>
  );
}
