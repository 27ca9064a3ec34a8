/** Form fields with a real label, a hint and an error that a screen reader connects to the control. */
import { type ReactNode, useId } from "react";
import { DURATION_UNITS, type Duration, type DurationUnit } from "../lib/duration.ts";
import { common, label as wordFor } from "./texts.ts";

interface FrameProps {
  label: string;
  hint?: string | undefined;
  error?: string | undefined;
  optional?: boolean | undefined;
}

interface ControlProps {
  id: string;
  "aria-invalid": boolean;
  "aria-describedby": string | undefined;
}

function Frame({
  label,
  hint,
  error,
  optional,
  children,
}: FrameProps & { children: (control: ControlProps) => ReactNode }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  return (
    <div className="min-w-0">
      <label htmlFor={id} className="mb-1 block font-semibold">
        {label}
        {optional && <span className="font-normal text-ink-soft"> ({common.optional})</span>}
      </label>
      {children({ id, "aria-invalid": error !== undefined, "aria-describedby": described })}
      {hint && (
        <p id={`${id}-hint`} className="mt-1 text-sm text-ink-soft">
          {hint}
        </p>
      )}
      {error && (
        <p id={`${id}-error`} className="mt-1 font-semibold text-bad">
          {error}
        </p>
      )}
    </div>
  );
}

interface TextFieldProps extends FrameProps {
  value: string;
  onChange: (value: string) => void;
  type?: "text" | "password" | "time" | "datetime-local";
  inputMode?: "text" | "decimal" | "numeric";
  autoComplete?: string;
  required?: boolean;
  rows?: number;
  /** The unit of a number, beside it. */
  unit?: string | undefined;
  /** What others have called it: to choose from, not to be bound by. */
  suggestions?: readonly string[];
  /** Formulas and JSON, in which every character counts. */
  code?: boolean;
}

export function TextField(props: TextFieldProps) {
  const {
    label,
    hint,
    error,
    optional,
    value,
    onChange,
    type = "text",
    rows,
    unit,
    suggestions,
    code,
    ...rest
  } = props;
  const listId = useId();
  const look = code ? "input font-mono text-sm" : "input";
  const spelling = code ? ({ autoCapitalize: "off", autoCorrect: "off", spellCheck: false } as const) : {};
  return (
    <Frame label={label} hint={hint} error={error} optional={optional}>
      {(control) => {
        if (rows !== undefined) {
          return (
            <textarea
              {...control}
              {...spelling}
              className={look}
              rows={rows}
              value={value}
              onChange={(event) => onChange(event.target.value)}
            />
          );
        }
        const unitId = `${control.id}-unit`;
        const input = (
          <input
            {...control}
            {...spelling}
            {...rest}
            aria-describedby={[unit && unitId, control["aria-describedby"]].filter(Boolean).join(" ") || undefined}
            className={look}
            type={type}
            list={suggestions && listId}
            value={value}
            onChange={(event) => onChange(event.target.value)}
          />
        );
        return (
          <>
            {unit ? (
              <span className="flex items-center gap-2">
                {input}
                <span id={unitId} className="shrink-0">
                  {unit}
                </span>
              </span>
            ) : (
              input
            )}
            {suggestions && (
              <datalist id={listId}>
                {suggestions.map((each) => (
                  <option key={each} value={each} />
                ))}
              </datalist>
            )}
          </>
        );
      }}
    </Frame>
  );
}

interface DurationFieldProps extends FrameProps {
  value: Duration;
  onChange: (value: Duration) => void;
}

/** A number with its unit to choose: nobody has to turn a week into seconds. */
export function DurationField({ value, onChange, ...frame }: DurationFieldProps) {
  return (
    <Frame {...frame}>
      {(control) => (
        <span className="grid grid-cols-[minmax(0,1fr)_auto] gap-2">
          <input
            {...control}
            className="input"
            inputMode="decimal"
            value={value.amount}
            onChange={(event) => onChange({ ...value, amount: event.target.value })}
          />
          <select
            aria-label={`${frame.label}: ${common.unit}`}
            className="input"
            value={value.unit}
            onChange={(event) => onChange({ ...value, unit: event.target.value as DurationUnit })}
          >
            {DURATION_UNITS.toReversed().map((unit) => (
              <option key={unit} value={unit}>
                {unit}
              </option>
            ))}
          </select>
        </span>
      )}
    </Frame>
  );
}

export interface Option {
  value: string;
  label: string;
}

interface SelectFieldProps extends FrameProps {
  value: string;
  onChange: (value: string) => void;
  options: Option[];
}

export function SelectField({ label, hint, error, optional, value, onChange, options }: SelectFieldProps) {
  // A value from a newer node stays selectable, so that saving another field does not change it.
  const all = options.some((option) => option.value === value)
    ? options
    : [...options, { value, label: value === "" ? wordFor(null) : value }];
  return (
    <Frame label={label} hint={hint} error={error} optional={optional}>
      {(control) => (
        <select {...control} className="input" value={value} onChange={(event) => onChange(event.target.value)}>
          {all.map((option) => (
            <option key={option.value} value={option.value}>
              {option.label}
            </option>
          ))}
        </select>
      )}
    </Frame>
  );
}
