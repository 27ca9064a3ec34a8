/** One incident: what is known, who has it, what was done about it, and what people disagree on. */
import { useState } from "react";
import { Link, useLocation, useParams } from "react-router";
import { ApiError } from "../../api/client.ts";
import { inNodeTime, useConnection } from "../../api/connection.ts";
import { useIncident, useIncidentHistory, useStatus } from "../../api/queries.ts";
import type { Incident } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { formatLocation } from "../../lib/location.ts";
import { Age, lastChange, Provenance } from "../../ui/age.tsx";
import { Severity, StaleTag, severityEdge, Tag } from "../../ui/badges.tsx";
import { Fact } from "../../ui/fact.tsx";
import { History } from "../../ui/history.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { describeSeenBy, SaveState } from "../../ui/save-state.tsx";
import { SeenBySection } from "../../ui/seen-by.tsx";
import { common, label } from "../../ui/texts.ts";
import { numberText } from "../../ui/value.tsx";
import { ConflictCard } from "../conflicts/conflict-card.tsx";
import { AssignmentsSection } from "../resources/assignments-section.tsx";
import { type EditDraft, EditIncident, startEdit } from "./edit-incident.tsx";
import { Evidence, heardBy } from "./evidence.tsx";
import { texts } from "./texts.ts";

export function IncidentPage() {
  const { id = "" } = useParams();
  const incident = useIncident(id);
  const gone = incident.error instanceof ApiError && [404, 410].includes(incident.error.status);
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <Link className="link inline-flex min-h-10 items-center justify-self-start" to="/incidents">
        ← {texts.back}
      </Link>
      {incident.error && (incident.data === undefined || gone) ? (
        <ErrorNotice error={incident.error} onRetry={() => void incident.refetch()} />
      ) : incident.data === undefined ? (
        <p role="status">{common.loading}</p>
      ) : (
        <IncidentDetail key={id} incident={incident.data} loadedAtMs={incident.dataUpdatedAt} />
      )}
    </div>
  );
}

function IncidentDetail({ incident, loadedAtMs }: { incident: Incident; loadedAtMs: number }) {
  const [draft, setDraft] = useDraft<EditDraft>(`incident.${incident.id}`);
  const [restored, setRestored] = useState(draft !== null);
  const arrived = useLocation().state as { saved?: boolean } | null;
  const [saved, setSaved] = useState(arrived?.saved === true);
  const { reachable } = useConnection();
  const { data: status } = useStatus();
  const history = useIncidentHistory(incident.id);

  return (
    <article className="grid grid-cols-[minmax(0,1fr)] gap-4 xl:grid-cols-[minmax(0,1fr)_24rem] xl:items-start">
      <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
        <header className={`card border-l-8 p-4 ${severityEdge[incident.severity] ?? ""}`}>
          <div className="flex flex-wrap items-start justify-between gap-3">
            <h1 className="min-w-0 flex-1 basis-60">{incident.title}</h1>
            {draft === null && (
              <button
                type="button"
                className="button"
                onClick={() => {
                  setRestored(false);
                  setDraft(startEdit(incident));
                }}
              >
                {texts.edit}
              </button>
            )}
          </div>
          <div className="mt-2 flex flex-wrap items-center gap-3">
            <Severity value={incident.severity} />
            <Tag tone={incident.status === "active" ? "accent" : "plain"}>{label(incident.status)}</Tag>
            {!reachable && (
              <span className="flex items-center gap-2 text-sm font-semibold text-warn">
                <StaleTag /> As it was <Age at={inNodeTime(loadedAtMs)} />
              </span>
            )}
          </div>
          <p className="mt-2 text-sm text-ink-soft">
            {texts.lastChange}: <Provenance {...lastChange(incident)} />
          </p>
          {saved && draft === null ? (
            <SaveState saving={false} saved={incident} />
          ) : (
            <p className="text-sm text-ink-soft">{texts.onThisNode(describeSeenBy(incident.seen_by, status).text)}</p>
          )}
        </header>

        {incident.conflicts.length > 0 && (
          <section aria-label={texts.conflict} className="grid gap-3">
            {incident.conflicts.map(({ conflict }) => (
              <ConflictCard key={conflict} id={conflict} />
            ))}
          </section>
        )}

        {draft === null ? (
          <IncidentFacts incident={incident} />
        ) : (
          <EditIncident
            restored={restored}
            incident={incident}
            draft={draft}
            onDraft={setDraft}
            onSaved={() => {
              setDraft(null);
              setSaved(true);
            }}
          />
        )}
        <AssignmentsSection incident={incident.id} />
        <History query={history} />
      </div>
      <SeenBySection seenBy={incident.seen_by} />
    </article>
  );
}

function IncidentFacts({ incident }: { incident: Incident }) {
  const { source, peak } = incident;
  const heard = heardBy(incident.evidence);
  return (
    <section aria-labelledby="details" className="card p-4">
      <h2 id="details" className="mb-2">
        {texts.details}
      </h2>
      {incident.description && <p className="mb-3 max-w-prose whitespace-pre-wrap">{incident.description}</p>}
      <dl className="grid gap-3 sm:grid-cols-2">
        <Fact name={texts.category}>{label(incident.category)}</Fact>
        <Fact name={common.location}>
          {incident.location ? <span className="tabular">{formatLocation(incident.location)}</span> : label(null)}
        </Fact>
        {incident.tags.length > 0 && (
          <Fact name={texts.tags}>
            <span className="flex flex-wrap gap-1">
              {incident.tags.map((tag) => (
                <Tag key={tag}>{tag}</Tag>
              ))}
            </span>
          </Fact>
        )}
        {source && (
          <Fact name={texts.sensor}>
            <Link
              className="link inline-flex min-h-10 items-center"
              to={`/devices/named/${encodeURIComponent(source.device)}?channel=${encodeURIComponent(source.channel)}`}
            >
              {`${source.device} · ${source.channel}`}
            </Link>
          </Fact>
        )}
        {incident.raised_at && (
          <Fact name={texts.raised}>
            <Age at={incident.raised_at} />
          </Fact>
        )}
        {peak && (
          <Fact name={texts.peak}>
            <span className="tabular font-bold">{numberText(peak.value)}</span> · <Age at={peak.at} />
          </Fact>
        )}
        {source && (
          <Fact name={texts.cleared}>{incident.cleared_at ? <Age at={incident.cleared_at} /> : texts.notCleared}</Fact>
        )}
        {heard.length > 0 && (
          <Fact name={texts.readings}>
            <Evidence heard={heard} />
          </Fact>
        )}
        <Fact name={texts.created}>
          <Age at={incident.created_at} />
        </Fact>
      </dl>
    </section>
  );
}
