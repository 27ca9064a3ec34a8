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
import { type FieldErrors, fieldErrors } from "../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../ui/form.tsx";
import { LocationFields } from "../../ui/location-fields.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { useFormErrors } from "../../ui/use-form-errors.ts";
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
  const [unchanged, setUnchanged] = useState(false);
  const client = useQueryClient();
  const write = useWrite(({ version, patch }: { version: string | null; patch: Partial<DeviceInput> }, key) =>
    version === null
      ? api.post<Device>(paths.devices(), { name: device.name, ...patch }, key)
      : api.patch<Device>(paths.device(device.id), version, patch),
  );
  const remote = fieldErrors(write.error);
  const { errors, setLocal, ref } = useFormErrors(remote);
  const versionUnknown = write.error instanceof ApiError && write.error.code === "version-unknown";
  const { form } = draft;
  const change = (next: Partial<DeviceForm>) => onDraft({ ...draft, form: { ...form, ...next } });

  const save = async (version: string | null) => {
    const parsed = parseDevice(form);
    setLocal("errors" in parsed ? parsed.errors : {});
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
      ref={ref}
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
      <UnshownErrors errors={remote} shown={["location", "expected_interval_s", "description"]} />
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
      <FormActions
        submit={texts.save}
        saving={write.saving}
        status={unchanged && texts.nothingChanged}
        onCancel={() => onDraft(null)}
        cancel={texts.discardEdit}
      />
    </form>
  );
}
