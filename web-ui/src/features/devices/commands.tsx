/** Telling a device to do something, and what came of it. A command waits at this node until the device takes it. */
import { useQueryClient } from "@tanstack/react-query";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useDeviceCommands } from "../../api/queries.ts";
import type { Device, DeviceCommand } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { type Duration, secondsOf } from "../../lib/duration.ts";
import { Age } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { DurationField, TextField } from "../../ui/field.tsx";
import { type FieldErrors, fieldErrors } from "../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../ui/form.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { label } from "../../ui/texts.ts";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { useWrite } from "../../ui/use-write.ts";
import { parsePayload } from "./payload.ts";
import { texts } from "./texts.ts";

const tones = {
  queued: "warn",
  sent: "accent",
  acknowledged: "ok",
  failed: "bad",
  expired: "plain",
} as const;

export function Commands({ device }: { device: Device }) {
  const commands = useDeviceCommands(device.id);
  return (
    <section aria-labelledby="commands" className="card grid grid-cols-[minmax(0,1fr)] gap-3 p-3 sm:p-4">
      <div>
        <h2 id="commands">{texts.commands}</h2>
        <p className="text-sm text-ink-soft">{texts.commandsLead(device.name)}</p>
      </div>
      {commands.reported && (
        <p>
          <span className="font-semibold">{texts.reported}</span> <Age at={commands.reported.at} />:{" "}
          <code className="font-mono text-sm">{textOf(commands.reported.state)}</code>
        </p>
      )}
      <SendCommand device={device} />
      <ListState query={commands} empty={texts.commandsNone}>
        <ol aria-label={texts.commands} className="grid gap-2">
          {commands.data?.map((command) => (
            <Command key={command.id} command={command} />
          ))}
        </ol>
      </ListState>
    </section>
  );
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

function Command({ command }: { command: DeviceCommand }) {
  const over = command.state !== "queued" && command.state !== "sent";
  return (
    <li className="rounded-lg border border-line p-3">
      <div className="flex flex-wrap items-start justify-between gap-2">
        <code className="min-w-0 font-mono text-sm font-bold">{textOf(command.payload)}</code>
        <Tag tone={tones[command.state as keyof typeof tones] ?? "plain"}>{label(command.state)}</Tag>
      </div>
      {command.detail && <p>{texts.answered(command.detail)}</p>}
      <p className="text-sm text-ink-soft">
        {texts.givenBy(command.created_by)} <Age at={command.created_at} />
        {over ? (
          <>
            {" · "}
            {label(command.state)} <Age at={command.changed_at} />
          </>
        ) : (
          ` · ${texts.expires(new Date(command.expires_at).toLocaleString())}`
        )}
      </p>
    </li>
  );
}

interface CommandForm {
  payload: string;
  expires: Duration;
}

const emptyCommand: CommandForm = { payload: "", expires: { amount: "1", unit: "h" } };

function SendCommand({ device }: { device: Device }) {
  const [draft, setDraft] = useDraft<CommandForm>(`command.${device.id}`);
  const client = useQueryClient();
  const write = useWrite((body: { payload: unknown; expires_s: number }, key) =>
    api.post<DeviceCommand>(paths.deviceCommands(device.id), body, key),
  );
  const remote = fieldErrors(write.error);
  const { errors, setLocal, ref } = useFormErrors(remote);
  const form = draft ?? emptyCommand;

  const submit = async () => {
    const expiresS = secondsOf(form.expires);
    const found: FieldErrors = {};
    if (form.payload.trim() === "") found.payload = texts.payloadMissing;
    if (expiresS === null || expiresS < 1) found.expires_s = texts.intervalWrong;
    setLocal(found);
    if (Object.keys(found).length > 0 || expiresS === null) return;
    if ((await write.run({ payload: parsePayload(form.payload), expires_s: expiresS })) === null) return;
    setDraft(null);
    await client.invalidateQueries({ queryKey: keys.devices.commands(device.id) });
  };

  return (
    <form
      ref={ref}
      noValidate
      aria-label={texts.sendTitle}
      className="grid gap-3 rounded-lg bg-sunken p-3"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <div className="grid gap-3 sm:grid-cols-[minmax(0,1fr)_14rem]">
        <TextField
          label={texts.payload}
          hint={texts.payloadHint}
          code
          value={form.payload}
          onChange={(payload) => setDraft({ ...form, payload })}
          error={errors.payload}
        />
        <DurationField
          label={texts.expiresAfter}
          hint={texts.expiresHint}
          value={form.expires}
          onChange={(expires) => setDraft({ ...form, expires })}
          error={errors.expires_s}
        />
      </div>
      {write.error !== null && <ErrorNotice error={write.error} />}
      <UnshownErrors errors={remote} shown={["payload", "expires_s"]} />
      <FormActions
        submit={texts.send}
        saving={write.saving}
        status={write.state.phase === "saved" && texts.commandStored}
      />
    </form>
  );
}
