/** Who changed what, where and when, newest first. Times are the writers' clocks: for reading, not for order. */
import type { HistoryEntry } from "../api/types.ts";
import { Provenance } from "./age.tsx";
import { ListState, type QueryLike } from "./list-state.tsx";
import { common, fieldLabel } from "./texts.ts";
import { Value } from "./value.tsx";

interface HistoryProps {
  query: QueryLike<HistoryEntry>;
  /** As of `Provenance`. */
  unsigned?: string;
}

export function History({ query, unsigned }: HistoryProps) {
  return (
    <section aria-labelledby="history" className="card p-4">
      <h2 id="history" className="mb-2">
        {common.history}
      </h2>
      <ListState query={query} empty={common.historyEmpty}>
        <ol className="grid gap-3">
          {query.data?.map((item) => (
            <li key={item.version} className="border-l-4 border-line pl-3">
              <p className="text-sm text-ink-soft">
                <Provenance
                  author={item.author}
                  node={item.node}
                  nodeName={item.node_name}
                  at={item.made_at}
                  {...(unsigned === undefined ? {} : { unsigned })}
                />
              </p>
              {item.deleted && <p className="font-semibold">{common.deletedHere}</p>}
              {item.changes.length === 0 && !item.deleted && <p className="text-ink-soft">{common.changedNothing}</p>}
              <ul>
                {item.changes.map((change) => (
                  <li key={change.field}>
                    <span className="font-semibold">{fieldLabel(change.field)}</span> {common.setTo}{" "}
                    <Value field={change.field} value={change.to} />
                  </li>
                ))}
              </ul>
            </li>
          ))}
        </ol>
      </ListState>
    </section>
  );
}
