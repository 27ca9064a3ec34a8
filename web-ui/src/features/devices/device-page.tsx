/** One device: what it measures over time, what is known of it, what it was told, and who may speak in its name. */
import { useState } from "react";
import { Link, Navigate, useLocation, useParams, useSearchParams } from "react-router";
import { inNodeTime, useConnection } from "../../api/connection.ts";
import { useDevice, useDeviceHistory, useDeviceNamed, useSeriesOf, useStatus } from "../../api/queries.ts";
import type { Device } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { durationText } from "../../lib/duration.ts";
import { formatLocation } from "../../lib/location.ts";
import { Age, lastChange, Provenance } from "../../ui/age.tsx";
import { StaleTag } from "../../ui/badges.tsx";
import { Fact } from "../../ui/fact.tsx";
import { History } from "../../ui/history.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { describeSeenBy, SaveState } from "../../ui/save-state.tsx";
import { SeenBySection } from "../../ui/seen-by.tsx";
import { common, label } from "../../ui/texts.ts";
import { numberText } from "../../ui/value.tsx";
import { ConflictCard } from "../conflicts/conflict-card.tsx";
import { Calibrations } from "./calibration/calibrations.tsx";
import { ChannelChart } from "./chart/channel-chart.tsx";
import { isSpan } from "./chart/span.ts";
import { Commands } from "./commands.tsx";
import { Credentials } from "./credentials.tsx";
import { DeviceSwitch, DeviceTags } from "./device-switch.tsx";
import { type DeviceDraft, EditDevice, startEdit } from "./edit-device.tsx";
import { HeardBySection, HeardElsewhere } from "./heard-by.tsx";
import { LastValue } from "./last-value.tsx";
import { texts } from "./texts.ts";

export function DevicePage() {
  const { id = "" } = useParams();
  const device = useDevice(id);
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <Link className="link inline-flex min-h-10 items-center justify-self-start" to="/devices">
        ← {texts.back}
      </Link>
      {device.data === undefined ? (
        device.error ? (
          <ErrorNotice error={device.error} onRetry={() => void device.refetch()} />
        ) : (
          <p role="status">{common.loading}</p>
        )
      ) : (
        <DeviceDetail key={id} device={device.data} loadedAtMs={device.dataUpdatedAt} />
      )}
    </div>
  );
}

/** By the name that incidents and rules know it by: its id is of no use to them. One that was heard here and that nobody
 * has approved is found, too: it can be approved on its page. */
export function DeviceByName() {
  const { name = "" } = useParams();
  const { search } = useLocation();
  const found = useDeviceNamed(name);
  if (found.data === undefined)
    return found.error ? <ErrorNotice error={found.error} /> : <p role="status">{common.loading}</p>;
  if (found.data === null)
    return (
      <Notice tone="warn" title={texts.notKnown(name)}>
        <p>{texts.notKnownNext}</p>
        <Link className="link inline-flex min-h-10 items-center" to="/devices">
          {texts.back}
        </Link>
      </Notice>
    );
  return <Navigate to={`/devices/${found.data.id}${search}`} replace />;
}

function DeviceDetail({ device, loadedAtMs }: { device: Device; loadedAtMs: number }) {
  const [draft, setDraft] = useDraft<DeviceDraft>(`device.${device.id}`);
  const [saved, setSaved] = useState(false);
  const { reachable } = useConnection();
  return (
    <article className="grid grid-cols-[minmax(0,1fr)] gap-4 xl:grid-cols-[minmax(0,1fr)_20rem] xl:items-start">
      <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
        <header className="card grid gap-3 p-4">
          <div className="flex flex-wrap items-start justify-between gap-3">
            <h1 className="min-w-0 flex-1 basis-60">{device.name}</h1>
            <DeviceTags device={device} />
          </div>
          {!reachable && (
            <p className="flex items-center gap-2 text-sm font-semibold text-warn">
              <StaleTag /> {texts.asItWas} <Age at={inNodeTime(loadedAtMs)} />
            </p>
          )}
          {device.description && <p className="max-w-prose whitespace-pre-wrap">{device.description}</p>}
          <Facts device={device} />
          <DocumentState device={device} saved={saved && draft === null} />
          <div className="flex flex-wrap items-start gap-3">
            <DeviceSwitch device={device} />
            {draft === null && (
              <button
                type="button"
                className="button"
                onClick={() => {
                  setSaved(false);
                  setDraft(startEdit(device));
                }}
              >
                {texts.edit}
              </button>
            )}
          </div>
        </header>
        {device.conflicts.map(({ conflict }) => (
          <ConflictCard key={conflict} id={conflict} />
        ))}
        {draft !== null && (
          <EditDevice
            device={device}
            draft={draft}
            onDraft={setDraft}
            onSaved={() => {
              setDraft(null);
              setSaved(true);
            }}
          />
        )}
        <Channels device={device} />
        <Commands device={device} />
      </div>
      <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
        <HeardBySection heardBy={device.heard_by} />
        {device.version !== null && <SeenBySection seenBy={device.seen_by} />}
        <Credentials device={device} />
        {device.version !== null && <DeviceHistory id={device.id} />}
      </div>
    </article>
  );
}

/** Before anybody has approved it, a device is known to this node alone. */
function DocumentState({ device, saved }: { device: Device; saved: boolean }) {
  const { data: status } = useStatus();
  if (device.version === null) return <p className="text-sm font-semibold text-warn">{texts.onlyHere}</p>;
  return (
    <>
      <p className="text-sm text-ink-soft">
        {texts.updated}: <Provenance {...lastChange(device)} unsigned={common.commandLine} />
      </p>
      {saved ? (
        <SaveState saving={false} saved={device} />
      ) : (
        <p className="text-sm text-ink-soft">{texts.storedHere(describeSeenBy(device.seen_by, status).text)}</p>
      )}
    </>
  );
}

function DeviceHistory({ id }: { id: string }) {
  return <History query={useDeviceHistory(id)} unsigned={common.commandLine} />;
}

function Facts({ device }: { device: Device }) {
  const { location, reported_location: reported } = device;
  return (
    <dl className="grid grid-cols-2 gap-3 sm:grid-cols-3">
      <Fact name={texts.lastSeen}>
        {device.last_seen ? <Age at={device.last_seen} /> : texts.neverSeen}
        <HeardElsewhere device={device} />
      </Fact>
      <Fact name={texts.interval}>
        {device.expected_interval_s ? durationText(device.expected_interval_s) : texts.intervalUnknown}
      </Fact>
      <Fact name={texts.connection}>
        {device.online === null ? texts.connectionUnknown : device.online ? texts.onlineNow : texts.offline}
      </Fact>
      <Fact name={texts.batteryName}>
        <Measured value={wholePercent(device.battery_pct)} unit="%" at={device.battery_at} />
      </Fact>
      <Fact name={texts.signalName}>
        <Measured value={device.rssi_dbm} unit="dBm" at={device.rssi_at} />
      </Fact>
      <Fact name={texts.firmwareName}>{device.firmware ?? texts.notSaid}</Fact>
      {device.label !== null && (
        <Fact name={texts.labelName}>
          “<bdi>{device.label}</bdi>”
        </Fact>
      )}
      <Fact name={common.location}>{location ? formatLocation(location) : label(null)}</Fact>
      {reported && (
        <Fact name={texts.reportedLocation}>
          {formatLocation(reported)} · <Age at={device.reported_location_at} />
        </Fact>
      )}
    </dl>
  );
}

/** A battery is not known better than that, whatever its device computes. */
const wholePercent = (value: number | null): number | null => (value === null ? null : Math.round(value));

/** What a device said of itself some time ago may have become something else. */
function Measured({ value, unit, at }: { value: number | null; unit: string; at: string | null }) {
  if (value === null) return texts.notSaid;
  return (
    <>
      {numberText(value)} {unit}
      {at !== null && (
        <span className="text-ink-soft">
          {" "}
          · <Age at={at} />
        </span>
      )}
    </>
  );
}

/** The channel and the time shown are in the address: what somebody looks at can be sent to somebody else. */
function Channels({ device }: { device: Device }) {
  const series = useSeriesOf(device.name);
  const [search, setSearch] = useSearchParams();
  const chosen = series.data?.find((each) => each.channel === search.get("channel")) ?? series.data?.[0];
  const span = search.get("span");
  const set = (name: string, value: string) => {
    const next = new URLSearchParams(search);
    next.set(name, value);
    setSearch(next, { replace: true, preventScrollReset: true });
  };
  return (
    <section aria-labelledby="channels" className="card grid grid-cols-[minmax(0,1fr)] gap-3 p-3 sm:p-4">
      <h2 id="channels">{texts.channels}</h2>
      <ListState query={series} empty={texts.noValues}>
        <ul className="grid gap-2 sm:grid-cols-2 lg:grid-cols-3">
          {series.data?.map((each) => (
            <li key={each.id}>
              <button
                type="button"
                aria-pressed={each.id === chosen?.id}
                className={`block h-full w-full cursor-pointer rounded-lg text-left outline-offset-2 ${
                  each.id === chosen?.id ? "outline-3 outline-accent" : "hover:bg-sunken"
                }`}
                onClick={() => set("channel", each.channel)}
              >
                <LastValue series={each} />
              </button>
            </li>
          ))}
        </ul>
        {chosen && (
          <div key={chosen.id} className="grid grid-cols-[minmax(0,1fr)] gap-3 pt-3">
            <ChannelChart
              series={chosen}
              expectedIntervalS={device.expected_interval_s}
              span={isSpan(span) ? span : "24h"}
              onSpan={(next) => set("span", next)}
            />
            <Calibrations series={chosen} />
          </div>
        )}
      </ListState>
    </section>
  );
}
