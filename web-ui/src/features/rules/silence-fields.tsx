/** Times at which a rule raises nothing: works at the gauge, a pump that runs each night. */
import { replaced, without } from "../../lib/list.ts";
import { SelectField, TextField } from "../../ui/field.tsx";
import { WINDOWS_MAX } from "./form.ts";
import type { RuleFieldsProps } from "./rule-fields.tsx";
import { DAYS, newWindow, type WindowForm, type WindowMode } from "./silence.ts";
import { texts } from "./texts.ts";

export function SilenceFields({ form, onChange, errors }: RuleFieldsProps) {
  const setWindow = (index: number, window: WindowForm) =>
    onChange({ ...form, silence: replaced(form.silence, index, window) });
  return (
    <fieldset className="grid grid-cols-[minmax(0,1fr)] gap-3 rounded-lg border border-line p-3">
      <legend className="px-1 font-semibold">{texts.silence}</legend>
      <p className="text-sm text-ink-soft">{texts.silenceHint}</p>
      {form.silence.map((window, index) => (
        <Window
          // biome-ignore lint/suspicious/noArrayIndexKey: windows have no identity of their own but their place
          key={index}
          index={index}
          window={window}
          errors={errors}
          onChange={(next) => setWindow(index, next)}
          onRemove={() => onChange({ ...form, silence: without(form.silence, index) })}
        />
      ))}
      {form.silence.length < WINDOWS_MAX && (
        <button
          type="button"
          className="button justify-self-start max-sm:w-full"
          onClick={() => onChange({ ...form, silence: [...form.silence, newWindow()] })}
        >
          {texts.addWindow}
        </button>
      )}
    </fieldset>
  );
}

interface WindowProps {
  index: number;
  window: WindowForm;
  errors: RuleFieldsProps["errors"];
  onChange: (window: WindowForm) => void;
  onRemove: () => void;
}

function Window({ index, window, errors, onChange, onRemove }: WindowProps) {
  const set = (field: keyof WindowForm) => (value: string) => onChange({ ...window, [field]: value });
  const at = (field: string) => errors[`silence.${index}.${field}`];
  const toggle = (day: string) =>
    onChange({
      ...window,
      days: window.days.includes(day) ? window.days.filter((each) => each !== day) : [...window.days, day],
    });
  return (
    <fieldset className="grid gap-3 rounded-lg bg-sunken p-3">
      <legend className="sr-only">{texts.windowTitle(index)}</legend>
      <SelectField
        label={texts.mode}
        value={window.mode}
        onChange={(mode) => onChange({ ...window, mode: mode as WindowMode })}
        options={Object.entries(texts.modes).map(([value, text]) => ({ value, label: text }))}
        error={errors[`silence.${index}`]}
      />
      {window.mode !== "range" && (
        <>
          <div className="grid gap-3 sm:grid-cols-3">
            <TextField
              label={texts.dailyFrom}
              type="time"
              value={window.dailyFrom}
              onChange={set("dailyFrom")}
              error={at("daily_from")}
              required
            />
            <TextField
              label={texts.dailyTo}
              hint={texts.dailyHint}
              type="time"
              value={window.dailyTo}
              onChange={set("dailyTo")}
              error={at("daily_to")}
              required
            />
            <TextField
              label={texts.offset}
              hint={texts.offsetHint}
              value={window.offset}
              onChange={set("offset")}
              error={at("offset")}
              required
            />
          </div>
          <fieldset>
            <legend className="mb-1 font-semibold">{texts.days}</legend>
            <div className="flex flex-wrap gap-2">
              {DAYS.map((day) => (
                <label
                  key={day}
                  className="inline-flex min-h-12 cursor-pointer items-center gap-2 rounded-lg border-2 border-line-strong bg-surface px-3"
                >
                  <input
                    type="checkbox"
                    className="size-5"
                    checked={window.days.includes(day)}
                    onChange={() => toggle(day)}
                  />
                  {texts.day(day)}
                </label>
              ))}
            </div>
            <p className="mt-1 text-sm text-ink-soft">{texts.daysHint}</p>
            {at("days") !== undefined && <p className="mt-1 font-semibold text-bad">{at("days")}</p>}
          </fieldset>
        </>
      )}
      {window.mode !== "daily" && (
        <div className="grid gap-3 sm:grid-cols-2">
          <TextField
            label={texts.from}
            type="datetime-local"
            value={window.from}
            onChange={set("from")}
            error={at("from")}
            required
          />
          <TextField
            label={texts.to}
            type="datetime-local"
            value={window.to}
            onChange={set("to")}
            error={at("to")}
            required
          />
        </div>
      )}
      <button type="button" className="button justify-self-start max-sm:w-full" onClick={onRemove}>
        {texts.removeWindow(index)}
      </button>
    </fieldset>
  );
}
