/** One conflict: every value with who entered it, where and how long ago, and a way to settle it. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useConflict } from "../../api/queries.ts";
import type { Conflict } from "../../api/types.ts";
import { Provenance } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { common, fieldLabel } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { valueText } from "../../ui/value.tsx";
import { candidates, entering, otherChoices, pageOf } from "./choices.ts";
import { DifferentValue } from "./different-value.tsx";
import { texts } from "./texts.ts";

/** Loads the conflict by its id. */
export function ConflictCard({ id, showDocument = false }: { id: string; showDocument?: boolean }) {
  const conflict = useConflict(id);
  if (conflict.data === undefined) {
    return conflict.error ? (
      <ErrorNotice error={conflict.error} onRetry={() => void conflict.refetch()} />
    ) : (
      <p role="status">{common.loading}</p>
    );
  }
  return <ConflictView conflict={conflict.data} showDocument={showDocument} />;
}

type Settlement = { choice: string } | { value: unknown };

interface ConflictViewProps {
  conflict: Conflict;
  showDocument?: boolean;
}

export function ConflictView({ conflict, showDocument = false }: ConflictViewProps) {
  const field = conflict.field ?? undefined;
  const client = useQueryClient();
  const [isEntering, setIsEntering] = useState(false);
  const how = field === undefined ? null : entering(field, conflict.values);
  const write = useWrite((settlement: Settlement, key) =>
    api.post<Conflict>(paths.conflictResolve(conflict.id), settlement, key),
  );

  const settle = async (settlement: Settlement) => {
    const answer = await write.run(settlement);
    if (answer === null) return;
    client.setQueryData(keys.conflicts.one(conflict.id), answer);
    void client.invalidateQueries({ queryKey: keys.conflicts.open() });
    for (const kind of [keys.incidents, keys.resources, keys.devices, keys.calibrations, keys.rules])
      void client.invalidateQueries({ queryKey: kind.all() });
  };

  const shown = candidates(conflict, field);
  const more = otherChoices(conflict, shown);
  const open = conflict.state === "open";
  const heading =
    field === undefined
      ? conflict.summary
      : shown.length === 2
        ? texts.field(fieldLabel(field))
        : texts.fieldMany(shown.length, fieldLabel(field));

  return (
    <section aria-label={heading} className={`card border-2 p-4 ${open ? "border-bad" : ""}`}>
      <div className="mb-1 flex flex-wrap items-center justify-between gap-2">
        <h2>{heading}</h2>
        {!open && <Tag tone="ok">{texts.resolved}</Tag>}
      </div>
      {field !== undefined && <p className="mb-3 text-ink-soft">{conflict.summary}</p>}
      {write.error !== null && (
        <div className="mb-3">
          <ErrorNotice error={write.error} />
        </div>
      )}
      <ul className="grid gap-3 sm:grid-cols-2">
        {shown.map((candidate) => (
          <li
            key={candidate.value.choice}
            className="flex flex-col justify-between gap-3 rounded-lg border border-line-strong bg-sunken p-3"
          >
            <div>
              <p className="text-lg font-bold whitespace-pre-wrap">{candidate.text}</p>
              <p className="text-sm text-ink-soft">
                {texts.from}{" "}
                <Provenance author={candidate.value.author} node={candidate.value.node} at={candidate.value.at} />
              </p>
            </div>
            {open && candidate.choice !== null && (
              <button
                type="button"
                className="button button-primary"
                aria-disabled={write.saving}
                onClick={() => candidate.choice !== null && void settle({ choice: candidate.choice })}
              >
                {candidate.text.length <= 40 ? texts.choose(candidate.text) : texts.chooseShort}
              </button>
            )}
          </li>
        ))}
      </ul>
      {open && (
        <div className="mt-3 flex flex-wrap gap-2">
          {more.map((choice) => (
            <button
              key={choice.id}
              type="button"
              className="button"
              aria-disabled={write.saving}
              onClick={() => void settle({ choice: choice.id })}
            >
              {choice.label}
            </button>
          ))}
          {!isEntering && how !== null && (
            <button type="button" className="button" onClick={() => setIsEntering(true)}>
              {texts.other}
            </button>
          )}
        </div>
      )}
      {open && isEntering && field !== undefined && how !== null && (
        <DifferentValue
          field={field}
          entering={how}
          saving={write.saving}
          onCancel={() => setIsEntering(false)}
          onValue={(value) => void settle({ value })}
        />
      )}
      {conflict.resolution && (
        <p className="mt-3">
          {texts.stands} <strong>{valueText(field, conflict.resolution.value)}</strong>.{" "}
          <span className="text-sm text-ink-soft">
            {texts.chosen}{" "}
            <Provenance
              author={conflict.resolution.author}
              node={conflict.resolution.node}
              nodeName={conflict.resolution.node_name}
              at={conflict.resolution.at}
            />
          </span>
        </p>
      )}
      {showDocument && (
        <ul className="mt-3">
          {conflict.documents.map((document) => {
            const page = pageOf(document.kind, document.id);
            return (
              <li key={document.id}>
                {page === null ? (
                  (document.title ?? document.kind)
                ) : (
                  <Link className="link inline-flex min-h-10 items-center" to={page}>
                    {texts.open(document.kind, document.title)}
                  </Link>
                )}
              </li>
            );
          })}
        </ul>
      )}
      <p aria-live="polite" className="mt-2 font-semibold text-ok empty:hidden">
        {write.saving ? common.saving : write.state.phase === "saved" ? texts.saved : ""}
      </p>
    </section>
  );
}
