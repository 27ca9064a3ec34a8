/** Devices: which sensors are heard, whether they may open incidents, and what they said last. */
import { useState } from "react";
import { Link } from "react-router";
import { useDevices, useSeries, useStatus } from "../../api/queries.ts";
import type { Device, Series } from "../../api/types.ts";
import { TextField } from "../../ui/field.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { Notice } from "../../ui/notice.tsx";
import { DeviceCard } from "./device-card.tsx";
import { ExpectDevice } from "./expect-device.tsx";
import { texts } from "./texts.ts";

/** So many are found by looking. */
const FEW = 8;

export function DevicesPage() {
  const [words, setWords] = useState("");
  const q = words.trim();
  const devices = useDevices(q);
  const series = useSeries(q);
  const unread = useStatus().data?.dead_letters ?? 0;
  const waiting = devices.data?.filter((device) => device.state === "unknown") ?? [];
  const decided = devices.data?.filter((device) => device.state !== "unknown") ?? [];
  const seriesOf = new Map<string, Series[]>();
  for (const each of series.data ?? []) {
    const known = seriesOf.get(each.device);
    if (known) known.push(each);
    else seriesOf.set(each.device, [each]);
  }
  const shown = { of: seriesOf, complete: !series.hasNextPage };
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1>{texts.title}</h1>
        <Link to="/devices/sources" className="button max-sm:w-full">
          {texts.sources}
        </Link>
      </div>
      <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      {unread > 0 && (
        <Notice tone="warn">
          <Link to="/devices/dead-letters" className="link inline-flex min-h-10 items-center">
            {texts.deadLetters(unread)}
          </Link>
        </Notice>
      )}
      {(words !== "" || devices.hasNextPage || (devices.data?.length ?? 0) > FEW) && (
        <search className="sm:max-w-sm">
          <TextField label={texts.find} value={words} onChange={setWords} autoComplete="off" />
        </search>
      )}
      <ListState query={devices} empty={q === "" ? texts.empty : texts.emptyFound(q)}>
        {waiting.length > 0 && <Group title={texts.waiting} devices={waiting} series={shown} />}
        {decided.length > 0 && <Group title={texts.known} devices={decided} series={shown} />}
      </ListState>
      <ExpectDevice />
    </div>
  );
}

interface GroupProps {
  title: string;
  devices: Device[];
  series: {
    of: Map<string, Series[]>;
    /** A device that is not among them has none. */
    complete: boolean;
  };
}

function Group({ title, devices, series }: GroupProps) {
  return (
    <section aria-label={title} className="mb-4">
      <h2 className="mb-2">{title}</h2>
      <ul className="grid grid-cols-[minmax(0,1fr)] gap-2 lg:grid-cols-2">
        {devices.map((device) => (
          <DeviceCard
            key={device.name}
            device={device}
            series={series.of.get(device.name) ?? (series.complete ? [] : null)}
          />
        ))}
      </ul>
    </section>
  );
}
