/** The audit record of this node: who did what and when, newest first. */
import { useQueryClient } from "@tanstack/react-query";
import { Link } from "react-router";
import { keys, useAudit } from "../../api/queries.ts";
import type { AuditRecord } from "../../api/types.ts";
import { ListState } from "../../ui/list-state.tsx";
import { texts } from "./texts.ts";

export function AuditPage() {
  const client = useQueryClient();
  const records = useAudit();
  return (
    <div className="grid max-w-4xl grid-cols-[minmax(0,1fr)] gap-4">
      <div>
        <Link className="link inline-flex min-h-10 items-center" to="/nodes">
          ← {texts.back}
        </Link>
        <h1>{texts.title}</h1>
        <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      </div>
      {/* It does not move by itself: whoever reads it must not lose their place. What was opened before begins anew. */}
      <button
        type="button"
        className="button justify-self-start max-sm:w-full"
        onClick={() => void client.resetQueries({ queryKey: keys.audit.all() })}
      >
        {texts.refresh}
      </button>
      <ListState query={records} empty={texts.empty}>
        <ol aria-label={texts.title} className="grid gap-2">
          {records.data?.map((record) => (
            <RecordRow key={record.id} record={record} />
          ))}
        </ol>
      </ListState>
    </div>
  );
}

function RecordRow({ record }: { record: AuditRecord }) {
  const object = texts.object(record.action, record.kind);
  const page = pageOf(record);
  const details = detailsOf(record.detail);
  return (
    <li className="card p-3 sm:px-4">
      <p>
        <span className="font-bold">{record.actor}</span> {texts.action(record.action)}{" "}
        {object !== null &&
          (page === null ? (
            object
          ) : (
            <Link className="link" to={page}>
              {object}
            </Link>
          ))}
      </p>
      {details.length > 0 && (
        <ul className="text-sm">
          {details.map(({ name, text }) => (
            <li key={name} className="break-words">
              {name}: <span className="font-mono">{text}</span>
            </li>
          ))}
        </ul>
      )}
      <p className="text-sm text-ink-soft">
        <time dateTime={record.at}>{new Date(record.at).toLocaleString()}</time>
        {page === null && record.object !== null && (
          <>
            {" · "}
            <span className="font-mono break-words">{record.object}</span>
          </>
        )}
      </p>
    </li>
  );
}

/** Kinds of which each has a page of its own, under its plural. */
const WITH_PAGE: ReadonlySet<string> = new Set(["incidents", "devices", "rules"]);

function pageOf({ kind, object }: AuditRecord): string | null {
  return kind !== null && object !== null && WITH_PAGE.has(kind) ? `/${kind}/${object}` : null;
}

/** Longer ones are lists of topics: who needs all of them asks the API. */
const DETAIL_CHARS = 300;

interface Detail {
  name: string;
  text: string;
}

/** What a person can read of it: versions are for programs, what is empty says nothing. */
export function detailsOf(detail: Record<string, unknown>): Detail[] {
  return Object.entries(detail).flatMap(([name, value]): Detail[] => {
    if (name === "version" || value === null) return [];
    const text =
      Array.isArray(value) && value.every((item) => typeof item === "string")
        ? value.join(" ")
        : typeof value === "string"
          ? value
          : JSON.stringify(value);
    if (text === "") return [];
    const shown = text.length > DETAIL_CHARS ? `${text.slice(0, DETAIL_CHARS)}…` : text;
    return [{ name: name.replaceAll("_", " "), text: shown }];
  });
}
