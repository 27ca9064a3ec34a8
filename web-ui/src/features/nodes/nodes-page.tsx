/** Links in full: who is in reach, what they lack, and whether pictures agree. */
import { Link } from "react-router";
import { inNodeTime, useConnection } from "../../api/connection.ts";
import { useStatus } from "../../api/queries.ts";
import type { KnownPeer, NodeStatus, Peer } from "../../api/types.ts";
import { Age } from "../../ui/age.tsx";
import { StaleTag, Tag } from "../../ui/badges.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { common, label } from "../../ui/texts.ts";
import { isLinked } from "./link.ts";
import { texts } from "./texts.ts";

export function NodesPage() {
  const status = useStatus();
  const { reachable } = useConnection();
  if (status.data === undefined) {
    return status.error ? <ErrorNotice error={status.error} /> : <p role="status">{common.loading}</p>;
  }
  const { data } = status;
  return (
    <div className="grid gap-4">
      <h1>{texts.title}</h1>
      <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      <FaultsNotice faults={data.sync_faults} />
      <section aria-labelledby="other-nodes">
        <h2 id="other-nodes" className="mb-2">
          {texts.others}
        </h2>
        {data.peers.length === 0 ? (
          <p className="card p-4">{texts.none}</p>
        ) : (
          <ul className="grid gap-2 xl:grid-cols-2">
            {data.peers.map((peer) => (
              <PeerRow key={peer.node_id} peer={peer} certain={reachable} />
            ))}
          </ul>
        )}
      </section>
      {data.dialled.length > 0 && <Dialled peers={data.dialled} />}
      <section aria-labelledby="this-node" className="card p-4">
        <h2 id="this-node">
          {texts.here}: {data.name} <span className="font-normal text-ink-soft">({label(data.role)})</span>
        </h2>
        <p className="mb-3 text-sm text-ink-soft">
          <Age at={inNodeTime(status.dataUpdatedAt)} />
        </p>
        <dl className="grid gap-3 sm:grid-cols-2">
          <Figure name={texts.documents} value={data.documents} />
          <Figure name={texts.readings} value={data.readings} />
          <Figure name={texts.pending} value={data.pending} warn={data.pending > 0} />
          <Figure
            name={texts.quarantined}
            value={data.quarantined}
            warn={data.quarantined > 0}
            hint={data.quarantined > 0 ? texts.quarantinedHint : undefined}
          />
          <div className="sm:col-span-2">
            <dt className="text-sm text-ink-soft">{texts.digest}</dt>
            <dd className="font-mono text-sm" data-testid="heads-digest">
              {data.heads_digest}
            </dd>
            <dd className="text-sm text-ink-soft">{texts.digestHint}</dd>
          </div>
        </dl>
        <Link className="link inline-flex min-h-10 items-center" to="/nodes/audit">
          {texts.audit}
        </Link>
      </section>
    </div>
  );
}

/** Lanes in which somebody's life may wait. */
const URGENT = new Set(["flash", "life"]);

export function PeerRow({ peer, certain }: { peer: KnownPeer; certain: boolean }) {
  const linked = isLinked(peer);
  return (
    <li className={`card p-4 ${certain ? "" : "stale"}`}>
      <div className="flex flex-wrap items-center gap-2">
        <h3>{peer.name ?? peer.node_id.slice(0, 8)}</h3>
        <span className="ml-auto flex gap-2">
          {!certain && <StaleTag />}
          <Tag tone={linked ? "ok" : "warn"}>{linked ? texts.linked : texts.notLinked}</Tag>
        </span>
      </div>
      {peer.behind_entries !== null && (
        <p className={peer.behind_entries > 0 ? "font-semibold text-warn" : ""}>{texts.behind(peer.behind_entries)}</p>
      )}
      {peer.behind.length > 0 && (
        <ul className="text-sm">
          {peer.behind.map(({ lane, entries }) => (
            <li key={lane} className={URGENT.has(lane) ? "font-semibold text-warn" : ""}>
              {texts.behindLane(lane, entries)}
            </li>
          ))}
        </ul>
      )}
      {(peer.missing_entries ?? 0) > 0 && <p>{texts.missing(peer.missing_entries ?? 0)}</p>}
      <Agreed agreed={peer.agreed} />
      <p className="text-sm text-ink-soft">
        {peer.last_seen ? (
          <>
            {texts.lastSeen} <Age at={peer.last_seen} />
          </>
        ) : (
          texts.never
        )}
        {" · "}
        {texts.state(peer.state)}
      </p>
      {!linked && peer.last_error && <p className="text-sm">{texts.lastError(peer.last_error)}</p>}
      <p className="font-mono text-sm text-ink-soft">{peer.node_id.slice(0, 16)}…</p>
    </li>
  );
}

/** Whether the two nodes make the same of what both hold, as last compared; before that nothing can be said. */
function Agreed({ agreed }: Pick<KnownPeer, "agreed">) {
  if (agreed.state === "equal") {
    return (
      <p>
        {texts.agreed} <Age at={agreed.at} />
      </p>
    );
  }
  if (agreed.state === "differs") {
    return (
      <p className="font-semibold text-bad">
        {texts.differs(agreed.objects)} <Age at={agreed.at} />
      </p>
    );
  }
  return null;
}

/** Views that were not what the entries give, here or elsewhere: repaired by themselves, and for a person to look at. */
export function FaultsNotice({ faults }: { faults: NodeStatus["sync_faults"] }) {
  if (faults.unseen === 0) return null;
  return (
    <Notice tone="warn" role="status" title={texts.faults(faults.unseen)}>
      <p>
        {texts.faultsLast} <Age at={faults.last_at} />. {texts.faultsNext}
      </p>
    </Notice>
  );
}

/** Addresses of nodes that never answered: a wrong address is seen here. */
function Dialled({ peers }: { peers: Peer[] }) {
  return (
    <section aria-labelledby="dialled" className="card p-4">
      <h2 id="dialled">{texts.dialled}</h2>
      <ul>
        {peers.map((peer) => (
          <li key={peer.address}>
            <span className="font-mono">{peer.address}</span>
            {peer.last_error && <span className="text-ink-soft"> · {peer.last_error}</span>}
          </li>
        ))}
      </ul>
    </section>
  );
}

interface FigureProps {
  name: string;
  value: number;
  warn?: boolean;
  hint?: string | undefined;
}

function Figure({ name, value, warn = false, hint }: FigureProps) {
  return (
    <div>
      <dt className="text-sm text-ink-soft">{name}</dt>
      <dd className={`tabular text-lg font-bold ${warn ? "text-warn" : ""}`}>{value.toLocaleString()}</dd>
      {hint && <dd className="text-sm">{hint}</dd>}
    </div>
  );
}
