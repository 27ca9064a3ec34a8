/** Brokers that are there already, to which this node listens. */
import { useBrokers } from "../../api/queries.ts";
import type { Broker } from "../../api/types.ts";
import { Age } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { texts } from "./texts.ts";

const tones = { connected: "ok", connecting: "plain", waiting: "warn", open: "bad", half_open: "warn" } as const;

export function Brokers() {
  const brokers = useBrokers();
  return (
    <section aria-labelledby="brokers" className="card grid grid-cols-[minmax(0,1fr)] gap-3 p-4">
      <div>
        <h2 id="brokers">{texts.brokers}</h2>
        <p className="text-sm text-ink-soft">{texts.brokersLead}</p>
      </div>
      <ListState query={brokers} empty={texts.brokersNone}>
        <ul aria-label={texts.brokers} className="grid gap-2">
          {brokers.data?.map((broker) => (
            <BrokerRow key={broker.name} broker={broker} />
          ))}
        </ul>
      </ListState>
    </section>
  );
}

function BrokerRow({ broker }: { broker: Broker }) {
  const well = broker.state === "connected";
  return (
    <li className={`rounded-lg border p-3 ${well ? "border-line" : "border-warn"}`}>
      <div className="flex flex-wrap items-start justify-between gap-2">
        <h3>{broker.name}</h3>
        <Tag tone={tones[broker.state as keyof typeof tones] ?? "plain"}>
          {texts.brokerState[broker.state] ?? broker.state}
        </Tag>
      </div>
      <p className="font-mono text-sm">{broker.url}</p>
      {!well && broker.last_error && <p>{broker.last_error}</p>}
      <p className="text-sm text-ink-soft">
        {well && broker.connected_since && (
          <>
            {texts.since} <Age at={broker.connected_since} /> ·{" "}
          </>
        )}
        {!well && broker.failures > 0 && `${texts.failures(broker.failures)} · `}
        {!well &&
          broker.next_attempt_at &&
          `${texts.nextAttempt(new Date(broker.next_attempt_at).toLocaleTimeString())} · `}
        {texts.messages(broker.messages)}
      </p>
    </li>
  );
}
