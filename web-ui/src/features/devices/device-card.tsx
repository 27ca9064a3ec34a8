/** One device of the list, with its last values. */
import { Link } from "react-router";
import type { Device, Series } from "../../api/types.ts";
import { Age } from "../../ui/age.tsx";
import { DeviceSwitch, DeviceTags } from "./device-switch.tsx";
import { HeardElsewhere } from "./heard-by.tsx";
import { LastValue } from "./last-value.tsx";
import { texts } from "./texts.ts";

/** More channels than this are on the device's own page: a weather station would push all others off the screen. */
const CHANNELS_SHOWN = 6;

interface DeviceCardProps {
  device: Device;
  /** null: there are too many channels to have asked for all of them. */
  series: Series[] | null;
}

export function DeviceCard({ device, series }: DeviceCardProps) {
  const overlay = [
    device.battery_pct != null && texts.battery(device.battery_pct),
    device.rssi_dbm != null && texts.signal(device.rssi_dbm),
    device.firmware != null && texts.firmware(device.firmware),
  ].filter((part) => part !== false);
  const page = `/devices/${device.id}`;
  return (
    <li className="card grid content-start gap-3 p-3 sm:p-4">
      <div className="flex flex-wrap items-start justify-between gap-2">
        <div className="min-w-0">
          <h3 className="text-lg">
            <Link className="link" to={page}>
              {device.name}
            </Link>
          </h3>
          <p className="text-sm text-ink-soft">
            {device.last_seen ? (
              <>
                {texts.lastSeen} <Age at={device.last_seen} />
                <HeardElsewhere device={device} />
              </>
            ) : (
              texts.neverSeen
            )}
            {overlay.map((part) => ` · ${part}`)}
            {device.label != null && (
              <>
                {" "}
                · {texts.labelName} “<bdi>{device.label}</bdi>”
              </>
            )}
          </p>
        </div>
        <DeviceTags device={device} />
      </div>
      {series === null ? (
        <Link className="link" to={page}>
          {texts.seeValues}
        </Link>
      ) : series.length === 0 ? (
        <p className="text-sm text-ink-soft">{texts.noValues}</p>
      ) : (
        <ul className="grid gap-2 sm:grid-cols-2">
          {series.slice(0, CHANNELS_SHOWN).map((each) => (
            <li key={each.id}>
              <LastValue series={each} />
            </li>
          ))}
        </ul>
      )}
      {series !== null && series.length > CHANNELS_SHOWN && (
        <Link className="link" to={page}>
          {texts.moreChannels(series.length - CHANNELS_SHOWN)}
        </Link>
      )}
      <DeviceSwitch device={device} />
    </li>
  );
}
