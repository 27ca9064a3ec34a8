/** Fields that only one or two kinds of rules have. */
import { DurationField, TextField } from "../../ui/field.tsx";
import type { RuleFieldsProps } from "./rule-fields.tsx";
import { texts } from "./texts.ts";

/** `unit` is that of the values themselves, which the levels of some kinds are not counted in. */
export function KindFields({ form, onChange, errors, unit }: RuleFieldsProps & { unit: string | undefined }) {
  switch (form.kind) {
    case "rate":
      return (
        <div className="sm:max-w-sm">
          <DurationField
            label={texts.window}
            value={form.window}
            onChange={(window) => onChange({ ...form, window })}
            error={errors.window_s}
          />
        </div>
      );
    case "no_data":
      return (
        <div className="sm:max-w-sm">
          <DurationField
            label={texts.after}
            hint={texts.afterHint}
            value={form.after}
            onChange={(after) => onChange({ ...form, after })}
            error={errors.after_s}
          />
        </div>
      );
    case "deviation":
      return (
        <div className="grid gap-4 sm:grid-cols-2">
          <DurationField
            label={texts.windowOfNormal}
            hint={texts.windowOfNormalHint}
            value={form.window}
            onChange={(window) => onChange({ ...form, window })}
            error={errors.window_s}
          />
          <TextField
            label={texts.spreadMin}
            hint={texts.spreadMinHint}
            inputMode="decimal"
            unit={unit}
            value={form.spreadMin}
            onChange={(spreadMin) => onChange({ ...form, spreadMin })}
            error={errors.spread_min}
            required
          />
        </div>
      );
    case "sta_lta":
      return (
        <div className="grid grid-cols-2 gap-4">
          <TextField
            label={texts.sta}
            inputMode="decimal"
            unit={texts.seconds}
            value={form.staS}
            onChange={(staS) => onChange({ ...form, staS })}
            error={errors.sta_s}
            required
          />
          <TextField
            label={texts.lta}
            hint={texts.ltaHint}
            inputMode="decimal"
            unit={texts.seconds}
            value={form.ltaS}
            onChange={(ltaS) => onChange({ ...form, ltaS })}
            error={errors.lta_s}
            required
          />
        </div>
      );
    default:
      return null;
  }
}
