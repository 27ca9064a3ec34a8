/** Which nodes hear a device, and how well. */
import type { Device, DeviceHeardBy } from "../../api/types.ts";
import { Age } from "../../ui/age.tsx";
import { useNodeName } from "../../ui/node-name.ts";
import { texts } from "./texts.ts";

/** Nothing where this node alone hears it: then all that is shown of the device is its own. */
export function HeardBySection({ heardBy }: { heardBy: readonly DeviceHeardBy[] }) {
  const nameOf = useNodeName();
  if (heardBy.every((heard) => heard.here)) return null;
  return (
    <section aria-labelledby="heard-by" className="card p-4">
      <h2 id="heard-by">{texts.whoHears}</h2>
      <p className="mb-3 text-sm text-ink-soft">{texts.whoHearsLead}</p>
      <ul className="grid gap-2">
        {heardBy.map((heard) => (
          <li key={heard.node} className="border-l-4 border-line pl-3">
            <p className="font-semibold">{heard.name ?? nameOf(heard.node)}</p>
            <p className="text-sm">
              {texts.lastSeen} <Age at={heard.last_seen} />
            </p>
            {heard.rssi_dbm !== null && (
              <p className="text-sm text-ink-soft">
                {texts.signal(heard.rssi_dbm)} · <Age at={heard.rssi_at} />
              </p>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Who heard it last, where that is another node. */
export function HeardElsewhere({ device }: { device: Device }) {
  const nameOf = useNodeName();
  const [newest] = device.heard_by;
  if (newest === undefined || newest.here) return null;
  return <> {texts.lastSeenBy(newest.name ?? nameOf(newest.node))}</>;
}
