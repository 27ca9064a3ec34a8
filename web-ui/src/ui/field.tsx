/** Form fields with a real label, a hint and an error that a screen reader connects to the control. */
import { type ReactNode, useId } from "react";
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
  type?: "text" | "password";
  inputMode?: "text" | "decimal" | "numeric";
  autoComplete?: string;
  required?: boolean;
  rows?: number;
}

export function TextField(props: TextFieldProps) {
  const { label, hint, error, optional, value, onChange, type = "text", rows, ...rest } = props;
  return (
    <Frame label={label} hint={hint} error={error} optional={optional}>
      {(control) =>
        rows === undefined ? (
          <input
            {...control}
            {...rest}
            className="input"
            type={type}
            value={value}
            onChange={(event) => onChange(event.target.value)}
          />
        ) : (
          <textarea
            {...control}
            className="input"
            rows={rows}
            value={value}
            onChange={(event) => onChange(event.target.value)}
          />
        )
      }
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
