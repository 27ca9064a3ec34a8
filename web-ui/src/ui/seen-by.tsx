/** Which nodes hold a document as it is now. A node that has not confirmed is listed too: silence is information. */
import { useStatus } from "../api/queries.ts";
import type { SeenBy } from "../api/types.ts";
import { Age } from "./age.tsx";
import { useNodeName } from "./node-name.ts";
import { common } from "./texts.ts";

export function SeenBySection({ seenBy }: { seenBy: SeenBy[] }) {
  const { data: status } = useStatus();
  const nameOf = useNodeName();
  const others = seenBy.filter((seen) => seen.node !== status?.node_id);
  const silent = status?.peers.filter((peer) => !others.some((seen) => seen.node === peer.node_id)) ?? [];
  return (
    <section aria-labelledby="seen-by" className="card p-4">
      <h2 id="seen-by">{common.seenBy}</h2>
      <p className="mb-3 text-sm text-ink-soft">{common.seenByLead}</p>
      <ul className="grid gap-2">
        <li className="border-l-4 border-ok pl-3">
          <p className="font-semibold">{status?.name ?? "…"}</p>
          <p className="text-sm">✓ {common.hereStored}</p>
        </li>
        {others.map((seen) => (
          <li key={seen.node} className={`border-l-4 pl-3 ${seen.stored_at ? "border-ok" : "border-warn"}`}>
            <p className="font-semibold">{seen.name ?? nameOf(seen.node)}</p>
            <p className="text-sm">
              {seen.stored_at ? (
                <>
                  ✓ {common.stored} <Age at={seen.stored_at} />,{" "}
                  {seen.applied_at ? common.applied : <span className="text-warn">{common.notApplied}</span>}
                </>
              ) : (
                common.notConfirmed
              )}
            </p>
          </li>
        ))}
        {silent.map((peer) => (
          <li key={peer.node_id} className="border-l-4 border-warn pl-3">
            <p className="font-semibold">{nameOf(peer.node_id)}</p>
            <p className="text-sm text-warn">{common.notConfirmed}</p>
          </li>
        ))}
      </ul>
    </section>
  );
}
