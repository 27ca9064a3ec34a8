/** A formula and the channels that it is computed from. */
import { useId } from "react";
import { useSeries } from "../../api/queries.ts";
import { RULE_FUNCTIONS } from "../../api/types.ts";
import { replaced, without } from "../../lib/list.ts";
import { DurationField, SelectField, TextField } from "../../ui/field.tsx";
import { EXAMPLES, type Example, emptyInput, INPUTS_MAX, type InputForm, isWindowed } from "./expression.ts";
import type { RuleForm } from "./form.ts";
import { channelNames, deviceNames } from "./matching.ts";
import type { RuleFieldsProps } from "./rule-fields.tsx";
import { texts } from "./texts.ts";

/** What a person has typed already stays, but for the formula and its inputs, which the example is about. */
function filled(form: RuleForm, { fill }: Example): RuleForm {
  const kept = Object.fromEntries(
    (["device", "raise", "clear", "title"] as const)
      .filter((field) => form[field].trim() !== "")
      .map((field) => [field, form[field]]),
  );
  return { ...form, ...fill, ...kept };
}

export function ExpressionFields({ form, onChange, errors }: RuleFieldsProps) {
  const setInput = (index: number, input: InputForm) =>
    onChange({ ...form, inputs: replaced(form.inputs, index, input) });
  const examplesId = useId();
  return (
    <fieldset className="grid grid-cols-[minmax(0,1fr)] gap-4 rounded-lg border border-line p-3">
      <legend className="px-1 font-semibold">{texts.inputs}</legend>
      <section aria-labelledby={examplesId}>
        <p id={examplesId} className="font-semibold">
          {texts.examples}
        </p>
        <p className="mb-2 text-sm text-ink-soft">{texts.examplesHint}</p>
        <div className="flex flex-wrap gap-2">
          {EXAMPLES.map((example) => (
            <button
              key={example.label}
              type="button"
              className="button max-sm:w-full"
              onClick={() => onChange(filled(form, example))}
            >
              {example.label}
            </button>
          ))}
        </div>
      </section>
      {errors["expression.inputs"] !== undefined && form.inputs.length === 0 && (
        <p className="font-semibold text-bad">{errors["expression.inputs"]}</p>
      )}
      {form.inputs.map((input, index) => (
        <Input
          // biome-ignore lint/suspicious/noArrayIndexKey: inputs have no identity of their own but their place
          key={index}
          index={index}
          input={input}
          errors={errors}
          onChange={(next) => setInput(index, next)}
          onRemove={() => onChange({ ...form, inputs: without(form.inputs, index) })}
        />
      ))}
      {form.inputs.length < INPUTS_MAX && (
        <button
          type="button"
          className="button justify-self-start max-sm:w-full"
          onClick={() => onChange({ ...form, inputs: [...form.inputs, emptyInput] })}
        >
          {texts.addInput}
        </button>
      )}
      <TextField
        label={texts.formula}
        hint={texts.formulaHint}
        value={form.formula}
        onChange={(formula) => onChange({ ...form, formula })}
        error={errors["expression.formula"]}
        autoComplete="off"
        code
        required
      />
      <div className="sm:max-w-sm">
        <DurationField
          label={texts.fresh}
          hint={texts.freshHint}
          value={form.fresh}
          onChange={(fresh) => onChange({ ...form, fresh })}
          error={errors["expression.fresh_s"]}
        />
      </div>
    </fieldset>
  );
}

interface InputProps {
  index: number;
  input: InputForm;
  errors: RuleFieldsProps["errors"];
  onChange: (input: InputForm) => void;
  onRemove: () => void;
}

function Input({ index, input, errors, onChange, onRemove }: InputProps) {
  const series = useSeries();
  const set = (field: keyof InputForm) => (value: string) => onChange({ ...input, [field]: value });
  const at = (field: string) => errors[`expression.inputs.${index}.${field}`];
  return (
    <fieldset className="grid gap-3 rounded-lg bg-sunken p-3">
      <legend className="sr-only">{texts.input(index)}</legend>
      {errors[`expression.inputs.${index}`] !== undefined && (
        <p className="font-semibold text-bad">{errors[`expression.inputs.${index}`]}</p>
      )}
      <div className="grid gap-3 sm:grid-cols-3">
        <TextField
          label={texts.inputName}
          hint={texts.inputNameHint}
          value={input.name}
          onChange={set("name")}
          error={at("name")}
          autoComplete="off"
          code
          required
        />
        <TextField
          label={texts.inputChannel}
          value={input.channel}
          onChange={set("channel")}
          error={at("channel")}
          suggestions={channelNames(input.device || "*", series.data)}
          autoComplete="off"
          required
        />
        <TextField
          label={texts.inputDevice}
          hint={texts.inputDeviceHint}
          value={input.device}
          onChange={set("device")}
          error={at("device")}
          suggestions={deviceNames(series.data)}
          autoComplete="off"
          optional
        />
        <TextField
          label={texts.inputUnit}
          hint={texts.inputUnitHint}
          value={input.unit}
          onChange={set("unit")}
          error={at("unit")}
          autoComplete="off"
          optional
        />
        <SelectField
          label={texts.inputFunction}
          value={input.function}
          onChange={set("function")}
          options={RULE_FUNCTIONS.map((value) => ({ value, label: texts.functions[value] ?? value }))}
          error={at("function")}
        />
        {isWindowed(input.function) && (
          <DurationField
            label={texts.inputWindow}
            value={input.window}
            onChange={(window) => onChange({ ...input, window })}
            error={at("window_s")}
          />
        )}
      </div>
      <button type="button" className="button justify-self-start max-sm:w-full" onClick={onRemove}>
        {texts.removeInput(index)}
      </button>
    </fieldset>
  );
}
