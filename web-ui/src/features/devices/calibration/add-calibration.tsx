/** Entering a calibration: a factor and an offset from a certificate, or points measured in the field. */
import { useQueryClient } from "@tanstack/react-query";
import { api } from "../../../api/client.ts";
import { paths } from "../../../api/paths.ts";
import { keys } from "../../../api/queries.ts";
import type { Calibration, CalibrationInput, Series } from "../../../api/types.ts";
import { replaced, without } from "../../../lib/list.ts";
import { SelectField, TextField } from "../../../ui/field.tsx";
import { type FieldErrors, fieldErrors } from "../../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../../ui/form.tsx";
import { ErrorNotice } from "../../../ui/notice.tsx";
import { useFormErrors } from "../../../ui/use-form-errors.ts";
import { useWrite } from "../../../ui/use-write.ts";
import { numberText, unitText } from "../../../ui/value.tsx";
import {
  applied,
  type CalibrationForm,
  emptyPoint,
  POINTS_MAX,
  type PointForm,
  parseCalibration,
  shownKeys,
} from "./form.ts";
import { texts } from "./texts.ts";

interface AddCalibrationProps {
  series: Series;
  form: CalibrationForm;
  onForm: (form: CalibrationForm | null) => void;
  onAdded: (calibration: Calibration) => void;
}

export function AddCalibration({ series, form, onForm, onAdded }: AddCalibrationProps) {
  const client = useQueryClient();
  const write = useWrite((input: CalibrationInput, key) => api.post<Calibration>(paths.calibrations(), input, key));
  const remote = fieldErrors(write.error);
  const { errors, setLocal, ref } = useFormErrors(remote);
  const set = (field: "scale" | "offset" | "unit" | "validFrom" | "note") => (value: string) =>
    onForm({ ...form, [field]: value });
  const of = { device: series.device, channel: series.channel };
  const unitSaid = form.unit.trim() === "" ? series.unit : form.unit.trim();
  const unit = unitSaid === null ? undefined : unitText(unitSaid);

  const submit = async () => {
    const parsed = parseCalibration(form, of);
    setLocal("errors" in parsed ? parsed.errors : {});
    if ("errors" in parsed) return;
    const calibration = await write.run(parsed.input);
    if (calibration === null) return;
    await client.invalidateQueries({ queryKey: keys.calibrations.all() });
    // What old readings mean has changed with it.
    void client.invalidateQueries({ queryKey: keys.devices.all() });
    onAdded(calibration);
  };

  return (
    <form
      ref={ref}
      noValidate
      aria-label={texts.formLabel}
      className="grid grid-cols-[minmax(0,1fr)] gap-3 rounded-lg bg-sunken p-3"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {write.error !== null && <ErrorNotice error={write.error} />}
      <UnshownErrors errors={remote} shown={shownKeys(form)} />
      <SelectField
        label={texts.kind}
        value={form.kind}
        onChange={(kind) => onForm({ ...form, kind: kind === "points" ? "points" : "line" })}
        options={Object.entries(texts.kinds).map(([value, label]) => ({ value, label }))}
      />
      {form.kind === "line" ? (
        <div className="grid grid-cols-2 gap-3">
          <TextField
            label={texts.scale}
            inputMode="text"
            value={form.scale}
            onChange={set("scale")}
            error={errors["curve.scale"]}
          />
          <TextField
            label={texts.offset}
            inputMode="text"
            unit={unit}
            value={form.offset}
            onChange={set("offset")}
            error={errors["curve.offset"]}
          />
        </div>
      ) : (
        <Points form={form} onForm={onForm} errors={errors} unit={unit} />
      )}
      <Preview series={series} form={form} />
      <div className="grid gap-3 sm:grid-cols-2">
        <TextField
          label={texts.validFrom}
          hint={texts.validFromHint}
          type="datetime-local"
          optional
          value={form.validFrom}
          onChange={set("validFrom")}
          error={errors.valid_from}
        />
        <TextField
          label={texts.unit}
          hint={texts.unitHint}
          optional
          value={form.unit}
          onChange={set("unit")}
          error={errors.unit}
        />
        <TextField
          label={texts.note}
          hint={texts.noteHint}
          optional
          value={form.note}
          onChange={set("note")}
          error={errors.note}
        />
      </div>
      <FormActions submit={texts.submit} saving={write.saving} onCancel={() => onForm(null)} />
    </form>
  );
}

/** What the newest reading would become: a sign or a decimal that is wrong shows at once. */
function Preview({ series, form }: { series: Series; form: CalibrationForm }) {
  const raw = series.last?.raw;
  const parsed = parseCalibration(form, { device: series.device, channel: series.channel });
  if (raw === undefined || "errors" in parsed) return null;
  // The node converts between units, this page does not.
  if (series.unit !== null && (parsed.input.unit ?? series.unit) !== series.unit) return null;
  const value = applied(parsed.input.curve, raw);
  if (value === null) return null;
  const unit = series.unit === null ? "" : ` ${unitText(series.unit)}`;
  return <p className="font-semibold">{texts.example(numberText(raw), `${numberText(value)}${unit}`)}</p>;
}

interface PointsProps {
  form: CalibrationForm;
  onForm: (form: CalibrationForm) => void;
  errors: FieldErrors;
  unit: string | undefined;
}

function Points({ form, onForm, errors, unit }: PointsProps) {
  const setPoint = (index: number, point: PointForm) =>
    onForm({ ...form, points: replaced(form.points, index, point) });
  return (
    <fieldset className="grid gap-3">
      <legend className="text-sm text-ink-soft">{texts.pointsHint}</legend>
      {errors["curve.points"] !== undefined && <p className="font-semibold text-bad">{errors["curve.points"]}</p>}
      {form.points.map((point, index) => (
        <div
          // biome-ignore lint/suspicious/noArrayIndexKey: points have no identity of their own but their place
          key={index}
          className="grid grid-cols-2 gap-3 sm:grid-cols-[1fr_1fr_auto] sm:items-end"
        >
          <TextField
            label={texts.raw(index)}
            inputMode="text"
            value={point.raw}
            onChange={(raw) => setPoint(index, { ...point, raw })}
            error={errors[`curve.points.${index}.raw`] ?? errors[`curve.points.${index}`]}
          />
          <TextField
            label={texts.value(index)}
            inputMode="text"
            unit={unit}
            value={point.value}
            onChange={(value) => setPoint(index, { ...point, value })}
            error={errors[`curve.points.${index}.value`]}
          />
          <button
            type="button"
            className="button max-sm:col-span-2"
            onClick={() => onForm({ ...form, points: without(form.points, index) })}
          >
            {texts.removePoint(index)}
          </button>
        </div>
      ))}
      {form.points.length < POINTS_MAX && (
        <button
          type="button"
          className="button justify-self-start max-sm:w-full"
          onClick={() => onForm({ ...form, points: [...form.points, emptyPoint] })}
        >
          {texts.addPoint}
        </button>
      )}
    </fieldset>
  );
}
