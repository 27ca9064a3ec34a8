/** What the decoders would make of a message; nothing is stored. */
import { ApiError, api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import type { DecodedMessage } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { SelectField, TextField } from "../../ui/field.tsx";
import { type FieldErrors, fieldErrors } from "../../ui/field-errors.ts";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { useWrite } from "../../ui/use-write.ts";
import { numberText, unitText } from "../../ui/value.tsx";
import { ENCODINGS, type Encoding, toBase64 } from "./bytes.ts";
import { texts } from "./texts.ts";

interface TrialForm {
  topic: string;
  payload: string;
  encoding: Encoding;
}

const emptyTrial: TrialForm = { topic: "", payload: "", encoding: "text" };

export function TryDecoders() {
  const [draft, setDraft] = useDraft<TrialForm>("decoder.try");
  const write = useWrite((trial: { topic: string; payload_base64: string }) =>
    api.post<DecodedMessage>(paths.decodersTry(), trial),
  );
  const form = draft ?? emptyTrial;
  // That the decoder refuses the payload is the answer; anything else is a failure of the request.
  const refused = write.error instanceof ApiError && write.error.status === 422;
  const remote = fieldErrors(write.error);
  const { errors, setLocal, ref } = useFormErrors(remote.topic === undefined ? {} : { topic: remote.topic });

  const submit = () => {
    const found: FieldErrors = {};
    const payload = toBase64(form.payload, form.encoding);
    if (form.topic.trim() === "") found.topic = texts.topicMissing;
    if (payload === null) found.payload = texts.payloadWrong(texts.encodings[form.encoding]);
    setLocal(found);
    if (Object.keys(found).length > 0 || payload === null) return;
    void write.run({ topic: form.topic.trim(), payload_base64: payload });
  };

  return (
    <section aria-labelledby="try-decoders" className="card grid grid-cols-[minmax(0,1fr)] gap-3 p-4">
      <div>
        <h2 id="try-decoders">{texts.tryTitle}</h2>
        <p className="max-w-prose text-sm text-ink-soft">{texts.tryLead}</p>
      </div>
      <form
        ref={ref}
        noValidate
        aria-label={texts.tryTitle}
        className="grid grid-cols-[minmax(0,1fr)] gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <div className="grid gap-3 sm:grid-cols-[minmax(0,1fr)_14rem]">
          <TextField
            label={texts.topic}
            code
            value={form.topic}
            onChange={(topic) => setDraft({ ...form, topic })}
            error={errors.topic}
          />
          <SelectField
            label={texts.encoding}
            value={form.encoding}
            onChange={(encoding) => setDraft({ ...form, encoding: encoding as Encoding })}
            options={ENCODINGS.map((value) => ({ value, label: texts.encodings[value] }))}
          />
        </div>
        <TextField
          label={texts.payload}
          code
          rows={4}
          value={form.payload}
          onChange={(payload) => setDraft({ ...form, payload })}
          error={errors.payload}
        />
        <button type="submit" className="button justify-self-start max-sm:w-full" aria-disabled={write.saving}>
          {texts.tryRun}
        </button>
      </form>
      <div aria-live="polite">
        {write.error !== null && !refused && <ErrorNotice error={write.error} onRetry={submit} />}
        {refused && (
          <Notice tone="warn" title={texts.tryRefused}>
            <p>{remote.payload_base64 ?? remote.topic ?? (write.error instanceof Error ? write.error.message : "")}</p>
          </Notice>
        )}
        {write.state.phase === "saved" && <Decoded message={write.state.answer} />}
      </div>
    </section>
  );
}

function Decoded({ message }: { message: DecodedMessage }) {
  return (
    <div className="grid gap-2">
      <p className="font-semibold">{texts.readBy(message.decoder)}</p>
      {message.noise !== null && <p>{texts.noise(message.noise)}</p>}
      {message.noise === null && message.devices.length === 0 && <p>{texts.nothing}</p>}
      {message.warnings.length > 0 && (
        <Notice tone="warn" title={texts.tryWarned}>
          <ul className="list-disc pl-6">
            {[...new Set(message.warnings)].map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
          <p>{texts.tryWarnedNext}</p>
        </Notice>
      )}
      {message.devices.map((device) => (
        <div key={device.device} className="rounded-lg border border-line p-3">
          <p className="font-bold">{device.device}</p>
          {device.readings.length > 0 && (
            <table className="tabular w-full text-left text-sm">
              <caption className="sr-only">{texts.valuesOf(device.device)}</caption>
              <thead>
                <tr className="border-b border-line">
                  <th scope="col">{texts.channel}</th>
                  <th scope="col">{texts.value}</th>
                  <th scope="col">{texts.deviceTime}</th>
                </tr>
              </thead>
              <tbody>
                {device.readings.map((reading) => (
                  <tr key={`${reading.channel} ${reading.at ?? ""}`} className="border-b border-line">
                    <th scope="row" className="py-1 pr-3 font-normal">
                      {reading.channel}
                    </th>
                    <td className="pr-3">
                      {numberText(reading.value)} {reading.unit && unitText(reading.unit)}
                    </td>
                    <td>{reading.at === null ? texts.ofReceipt : new Date(reading.at).toLocaleString()}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
          <ul>
            {device.battery_pct !== null && <li>{texts.battery(numberText(device.battery_pct))}</li>}
            {device.rssi_dbm !== null && <li>{texts.signal(numberText(device.rssi_dbm))}</li>}
            {device.snr_db !== null && <li>{texts.overNoise(numberText(device.snr_db))}</li>}
            {device.firmware !== null && <li>{texts.firmware(device.firmware)}</li>}
            {device.label !== null && (
              <li>
                {texts.label} “<bdi>{device.label}</bdi>”
              </li>
            )}
            {device.online !== null && <li>{device.online ? texts.saysOnline : texts.saysOffline}</li>}
            {device.texts.map((text) => (
              <li key={text}>“{text}”</li>
            ))}
          </ul>
        </div>
      ))}
      {message.skipped > 0 && <p className="text-sm text-ink-soft">{texts.skipped(message.skipped)}</p>}
    </div>
  );
}
