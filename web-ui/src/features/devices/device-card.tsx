/** One device with its last values. A value past its expected interval is hatched and labelled, never shown as fresh. */
import { useQueryClient } from "@tanstack/react-query";
import { api } from "../../api/client.ts";
import { useConnection } from "../../api/connection.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Device, Series } from "../../api/types.ts";
import { isStale } from "../../lib/age.ts";
import { useClock } from "../../lib/clock.ts";
import { Age } from "../../ui/age.tsx";
import { StaleTag, Tag } from "../../ui/badges.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { SaveState } from "../../ui/save-state.tsx";
import { label } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { numberText, unitText } from "../../ui/value.tsx";
import { texts } from "./texts.ts";

const stateTone = { approved: "ok", disabled: "plain", unknown: "warn" } as const;

export function DeviceCard({ device, series }: { device: Device; series: Series[] }) {
  const client = useQueryClient();
  const write = useWrite((state: "approved" | "disabled", key) =>
    // A device that nobody has approved yet is no document: there is no version to name.
    device.version === null
      ? api.post<Device>(paths.devices(), { name: device.name, state }, key)
      : api.patch<Device>(paths.device(device.id), device.version, { state }),
  );
  const change = async (state: "approved" | "disabled") => {
    if ((await write.run(state)) !== null) await client.invalidateQueries({ queryKey: keys.devices.all() });
  };
  const approved = device.state === "approved";
  const overlay = [
    device.battery_pct != null && texts.battery(device.battery_pct),
    device.rssi_dbm != null && texts.signal(device.rssi_dbm),
    device.firmware != null && texts.firmware(device.firmware),
  ].filter((part) => part !== false);

  return (
    <li className="card grid content-start gap-3 p-3 sm:p-4">
      <div className="flex flex-wrap items-start justify-between gap-2">
        <div className="min-w-0">
          <h3 className="text-lg">{device.name}</h3>
          <p className="text-sm text-ink-soft">
            {device.last_seen ? (
              <>
                {texts.lastSeen} <Age at={device.last_seen} />
              </>
            ) : (
              texts.neverSeen
            )}
            {overlay.map((part) => ` · ${part}`)}
          </p>
        </div>
        <span className="flex flex-wrap gap-2">
          {device.online === false && <Tag tone="warn">{texts.offline}</Tag>}
          <Tag tone={stateTone[device.state as keyof typeof stateTone] ?? "plain"}>
            {device.state === "unknown" ? texts.notApproved : label(device.state)}
          </Tag>
        </span>
      </div>
      {series.length === 0 ? (
        <p className="text-sm text-ink-soft">{texts.noValues}</p>
      ) : (
        <ul className="grid gap-2 sm:grid-cols-2">
          {series.map((each) => (
            <LastValue key={each.id} series={each} expectedIntervalS={device.expected_interval_s} />
          ))}
        </ul>
      )}
      {write.error !== null && <ErrorNotice error={write.error} />}
      <div className="flex flex-wrap items-center gap-3">
        {approved ? (
          <button
            type="button"
            className="button"
            aria-label={texts.disable(device.name)}
            aria-disabled={write.saving}
            onClick={() => void change("disabled")}
          >
            {texts.disableShort}
          </button>
        ) : (
          <button
            type="button"
            className="button button-primary"
            aria-label={texts.approve(device.name)}
            aria-disabled={write.saving}
            onClick={() => void change("approved")}
          >
            {device.state === "disabled" ? texts.enableShort : texts.approveShort}
          </button>
        )}
        <SaveState saving={write.saving} saved={write.state.phase === "saved" ? device : null} />
      </div>
    </li>
  );
}

function LastValue({ series, expectedIntervalS }: { series: Series; expectedIntervalS: number | null | undefined }) {
  const { reachable } = useConnection();
  const old = useClock((nowMs) => isStale(series.last?.at, expectedIntervalS, nowMs));
  const stale = old || !reachable;
  return (
    <li
      className={`rounded-lg border px-3 py-2 ${stale ? "stale border-warn" : "border-line"}`}
      title={stale ? texts.staleHint : undefined}
    >
      <p className="flex flex-wrap items-center justify-between gap-x-2 text-sm">
        <span className="font-semibold">{series.channel}</span>
        {stale && <StaleTag />}
      </p>
      {series.last && (
        <p className={`tabular text-xl font-bold ${stale ? "text-ink-soft" : ""}`}>
          {numberText(series.last.value)}{" "}
          {series.unit && <span className="text-base font-normal">{unitText(series.unit)}</span>}
        </p>
      )}
      <p className="text-sm text-ink-soft">
        <Age at={series.last?.at} /> · {texts.readings(series.count)}
      </p>
    </li>
  );
}
