/** Who changed what, where and when, newest first. Times are the writers' clocks: for reading, not for order. */
import { useIncidentHistory } from "../../api/queries.ts";
import { Provenance } from "../../ui/age.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { fieldLabel } from "../../ui/texts.ts";
import { Value } from "../../ui/value.tsx";
import { texts } from "./texts.ts";

export function IncidentHistory({ id }: { id: string }) {
  const history = useIncidentHistory(id);
  return (
    <section aria-labelledby="history" className="card p-4">
      <h2 id="history" className="mb-2">
        {texts.history}
      </h2>
      <ListState query={history} empty={texts.historyEmpty}>
        <ol className="grid gap-3">
          {history.data?.map((item) => (
            <li key={item.version} className="border-l-4 border-line pl-3">
              <p className="text-sm text-ink-soft">
                <Provenance author={item.author} node={item.node} nodeName={item.node_name} at={item.made_at} />
              </p>
              {item.deleted && <p className="font-semibold">{texts.deletedHere}</p>}
              {item.changes.length === 0 && !item.deleted && <p className="text-ink-soft">{texts.changedNothing}</p>}
              <ul>
                {item.changes.map((change) => (
                  <li key={change.field}>
                    <span className="font-semibold">{fieldLabel(change.field)}</span> {texts.setTo}{" "}
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
