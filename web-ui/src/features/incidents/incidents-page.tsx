/** The live list. Filters live in the address, so that "active and extreme" can be bookmarked or sent to somebody. */
import { Link, useSearchParams } from "react-router";
import type { IncidentFilter } from "../../api/paths.ts";
import { useIncidents, useStatus } from "../../api/queries.ts";
import { INCIDENT_STATUSES, type Incident, SEVERITIES } from "../../api/types.ts";
import { Age } from "../../ui/age.tsx";
import { Severity, severityEdge, Tag } from "../../ui/badges.tsx";
import { SelectField } from "../../ui/field.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { useNodeName } from "../../ui/node-name.ts";
import { describeSeenBy } from "../../ui/save-state.tsx";
import { common, label } from "../../ui/texts.ts";
import { texts } from "./texts.ts";

const withAll = (values: readonly string[]) => [
  { value: "", label: texts.all },
  ...values.map((value) => ({ value, label: label(value) })),
];

export function IncidentsPage() {
  const [search, setSearch] = useSearchParams();
  const filter: IncidentFilter = {};
  const [status, severity] = [search.get("status"), search.get("severity")];
  if (status) filter.status = status;
  if (severity) filter.severity = severity;
  const filtered = Object.keys(filter).length > 0;
  const incidents = useIncidents(filter);

  const set = (name: string) => (value: string) => {
    const next = new URLSearchParams(search);
    if (value === "") next.delete(name);
    else next.set(name, value);
    setSearch(next, { replace: true });
  };

  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1>{texts.title}</h1>
        <Link to="/incidents/new" className="button button-primary max-sm:w-full">
          {texts.report}
        </Link>
      </div>
      <search className="grid grid-cols-2 gap-3 sm:max-w-xl">
        <SelectField
          label={texts.status}
          value={status ?? ""}
          onChange={set("status")}
          options={withAll(INCIDENT_STATUSES)}
        />
        <SelectField
          label={texts.severity}
          value={severity ?? ""}
          onChange={set("severity")}
          options={withAll(SEVERITIES)}
        />
      </search>
      <ListState
        query={incidents}
        empty={
          filtered ? (
            <>
              <p>{texts.emptyFiltered}</p>
              <button type="button" className="button mt-3" onClick={() => setSearch({}, { replace: true })}>
                {texts.clearFilters}
              </button>
            </>
          ) : (
            texts.empty
          )
        }
      >
        <ul aria-label={texts.title} className="grid grid-cols-[minmax(0,1fr)] gap-2">
          {shown(incidents.data ?? []).map((incident) => (
            <IncidentRow key={incident.id} incident={incident} />
          ))}
        </ul>
      </ListState>
    </div>
  );
}

/** One alarm that several nodes raised is one line, as long as the incident that shows the others is in the list. */
function shown(incidents: Incident[]): Incident[] {
  const listed = new Set(incidents.map((incident) => incident.id));
  return incidents.filter(({ folded_into: into }) => into === null || !listed.has(into));
}

function IncidentRow({ incident }: { incident: Incident }) {
  const { data: status } = useStatus();
  const nameOf = useNodeName();
  return (
    <li>
      <Link
        to={`/incidents/${incident.id}`}
        className={`card block border-l-8 p-3 hover:bg-sunken sm:px-4 ${severityEdge[incident.severity] ?? ""}`}
      >
        <div className="flex flex-wrap items-start justify-between gap-x-3 gap-y-1">
          <span className="min-w-0 flex-1 basis-52 text-lg leading-snug font-bold">{incident.title}</span>
          <span className="flex flex-wrap gap-2">
            {incident.conflicts.length > 0 && <Tag tone="bad">{texts.conflict}</Tag>}
            {incident.folds.length > 0 && <Tag tone="plain">{texts.folded(incident.folds.length)}</Tag>}
            <Tag tone={incident.status === "active" ? "accent" : "plain"}>{label(incident.status)}</Tag>
          </span>
        </div>
        <div className="mt-1 flex flex-wrap items-center gap-x-3 gap-y-0.5 text-sm">
          <Severity value={incident.severity} />
          <span className="text-ink-soft">
            {texts.updated} <Age at={incident.updated_at} /> ·{" "}
            {common.by(incident.author ?? common.sensorAuthor, incident.node_name ?? nameOf(incident.node))}
          </span>
        </div>
        <p className="text-sm text-ink-soft">
          {describeSeenBy(incident.seen_by, status).text.replace(/^./, (first) => first.toUpperCase())}
        </p>
      </Link>
    </li>
  );
}
