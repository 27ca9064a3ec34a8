/** Where readings come from: brokers and how each stands, which decoder reads what, and what none could read. */
import { Link } from "react-router";
import { useStatus } from "../../api/queries.ts";
import { Tag } from "../../ui/badges.tsx";
import { Accounts } from "./accounts.tsx";
import { Brokers } from "./brokers.tsx";
import { Decoders } from "./decoders.tsx";
import { texts } from "./texts.ts";
import { TryDecoders } from "./try-decoders.tsx";

export function SourcesPage() {
  const { data: status } = useStatus();
  const address = status?.addresses?.mqtt;
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <div>
        <Link className="link inline-flex min-h-10 items-center" to="/devices">
          ← {texts.back}
        </Link>
        <h1>{texts.title}</h1>
        <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      </div>
      {address && (
        <p className="card p-4">
          {texts.listens} <code className="font-mono font-bold">{address}</code>
          {status.addresses?.mqtt_tls && (
            <>
              , {texts.overTls} <code className="font-mono font-bold">{status.addresses.mqtt_tls}</code>
            </>
          )}
          . {texts.listensHint}
          {status.mqtt_tls_sha256 && (
            <span className="mt-2 block text-sm">
              {texts.fingerprint} <code className="font-mono">{status.mqtt_tls_sha256}</code>
            </span>
          )}
        </p>
      )}
      <Brokers />
      <DeadLetters open={status?.dead_letters ?? 0} />
      <Accounts />
      <Decoders />
      <TryDecoders />
    </div>
  );
}

/** They have a page of their own: there may be thousands. */
function DeadLetters({ open }: { open: number }) {
  return (
    <section aria-labelledby="dead-letters" className="card p-4">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <h2 id="dead-letters">{texts.deadLetters}</h2>
        {open > 0 && <Tag tone="warn">{texts.openLetters(open)}</Tag>}
      </div>
      {open === 0 ? (
        <p className="text-ink-soft">{texts.deadLettersNone}</p>
      ) : (
        <Link className="link inline-flex min-h-10 items-center" to="/devices/dead-letters">
          {texts.seeLetters}
        </Link>
      )}
    </section>
  );
}
