/** Editing what people say about a device: where it is, how often it should send, what it is for. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Device, DeviceInput } from "../../api/types.ts";
import { type Duration, durationOf, secondsOf } from "../../lib/duration.ts";
import { type LocationText, locationText, parseLocation } from "../../lib/location.ts";
import { buildMergePatch } from "../../lib/merge-patch.ts";
import { DurationField, TextField } from "../../ui/field.tsx";
import { errorsElsewhere, type FieldErrors, fieldErrors } from "../../ui/field-errors.ts";
import { LocationFields } from "../../ui/location-fields.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { common } from "../../ui/texts.ts";
import { useFirstInvalid } from "../../ui/use-first-invalid.ts";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

interface DeviceForm extends LocationText {
  /** An empty amount: nobody says. */
  interval: Duration;
  description: string;
}

export interface DeviceDraft {
  /** The version on the screen when the edit began; null where there was no document. */
  version: string | null;
  seen: DeviceInput;
  form: DeviceForm;
}

export function startEdit(device: Device): DeviceDraft {
  const seen: DeviceInput = {
    location: device.location,
    expected_interval_s: device.expected_interval_s,
    description: device.description,
  };
  const interval =
    device.expected_interval_s === null ? { amount: "", unit: "min" as const } : durationOf(device.expected_interval_s);
  const form = { ...locationText(device.location), interval, description: device.description };
  return { version: device.version, seen, form };
}

export function parseDevice(form: DeviceForm): { input: DeviceInput } | { errors: FieldErrors } {
  const errors: FieldErrors = {};
  const location = parseLocation(form);
  if (location.errors.lat) errors["location.lat"] = location.errors.lat;
  if (location.errors.lon) errors["location.lon"] = location.errors.lon;
  const unsaid = form.interval.amount.trim() === "";
  const seconds = unsaid ? null : secondsOf(form.interval);
  if (!unsaid && (seconds === null || seconds < 1)) errors.expected_interval_s = texts.intervalWrong;
  if (Object.keys(errors).length > 0) return { errors };
  return { input: { location: location.value, expected_interval_s: seconds, description: form.description } };
}

interface EditDeviceProps {
  device: Device;
  draft: DeviceDraft;
  onDraft: (draft: DeviceDraft | null) => void;
  onSaved: () => void;
}

export function EditDevice({ device, draft, onDraft, onSaved }: EditDeviceProps) {
  const [localErrors, setLocalErrors] = useState<FieldErrors>({});
  const [unchanged, setUnchanged] = useState(false);
  const client = useQueryClient();
  const write = useWrite(({ version, patch }: { version: string | null; patch: Partial<DeviceInput> }, key) =>
    version === null
      ? api.post<Device>(paths.devices(), { name: device.name, ...patch }, key)
      : api.patch<Device>(paths.device(device.id), version, patch),
  );
  const remoteErrors = fieldErrors(write.error);
  const errors = { ...remoteErrors, ...localErrors };
  const formRef = useFirstInvalid(errors);
  const versionUnknown = write.error instanceof ApiError && write.error.code === "version-unknown";
  const { form } = draft;
  const change = (next: Partial<DeviceForm>) => onDraft({ ...draft, form: { ...form, ...next } });

  const save = async (version: string | null) => {
    const parsed = parseDevice(form);
    setLocalErrors("errors" in parsed ? parsed.errors : {});
    if ("errors" in parsed) return;
    const patch = buildMergePatch(draft.seen, parsed.input);
    setUnchanged(Object.keys(patch).length === 0);
    if (Object.keys(patch).length === 0) return;
    if ((await write.run({ version, patch })) === null) return;
    await client.invalidateQueries({ queryKey: keys.devices.all() });
    void client.invalidateQueries({ queryKey: keys.conflicts.all() });
    onSaved();
  };

  return (
    <form
      ref={formRef}
      noValidate
      aria-label={texts.editTitle}
      className="card grid gap-4 p-4"
      onSubmit={(event) => {
        event.preventDefault();
        // Approved meanwhile, here or elsewhere: now there is a document to edit.
        void save(draft.version ?? device.version);
      }}
    >
      <h2>{texts.editTitle}</h2>
      {write.error !== null && (
        <ErrorNotice
          error={write.error}
          action={
            versionUnknown && (
              <button type="button" className="button" onClick={() => void save(device.version)}>
                {texts.saveOnTop}
              </button>
            )
          }
        />
      )}
      {errorsElsewhere(remoteErrors, ["location", "expected_interval_s", "description"]).map(([field, detail]) => (
        <Notice key={field} tone="bad" title={`${field}: ${detail}`} />
      ))}
      <div className="sm:max-w-sm">
        <DurationField
          label={texts.interval}
          hint={texts.intervalHint}
          optional
          value={form.interval}
          onChange={(interval) => change({ interval })}
          error={errors.expected_interval_s}
        />
      </div>
      <LocationFields text={form} onChange={change} errors={errors} />
      <TextField
        label={texts.description}
        optional
        rows={3}
        value={form.description}
        onChange={(description) => change({ description })}
        error={errors.description}
      />
      <div className="flex flex-wrap items-center gap-3">
        <button type="submit" className="button button-primary max-sm:w-full" aria-disabled={write.saving}>
          {texts.save}
        </button>
        <button type="button" className="button max-sm:w-full" onClick={() => onDraft(null)}>
          {texts.discardEdit}
        </button>
        <p aria-live="polite" className="font-semibold">
          {write.saving ? common.saving : unchanged && texts.nothingChanged}
        </p>
      </div>
    </form>
  );
}
