/** The life of a write in words: saving, on this node's disk, on other nodes' disks. */
import { useStatus } from "../api/queries.ts";
import type { NodeStatus, SeenBy } from "../api/types.ts";
import { common } from "./texts.ts";

/** More names than this are a crowd: they are counted, and listed elsewhere. */
const NAMES_MAX = 3;

/** Who else has a document, in words. `seenBy` may or may not list this node itself. */
export function describeSeenBy(seenBy: SeenBy[], status: NodeStatus | undefined): { text: string; elsewhere: number } {
  const others = seenBy.filter((seen) => seen.node !== status?.node_id && seen.stored_at !== null);
  if (others.length > 0) {
    const names = others.map((seen) => seen.name ?? status?.peers.find((peer) => peer.node_id === seen.node)?.name);
    const known = names.filter((name) => name !== null && name !== undefined);
    const suffix = known.length === others.length && known.length <= NAMES_MAX ? ` (${known.join(", ")})` : "";
    return {
      text: `seen by ${others.length} ${others.length === 1 ? "node" : "nodes"}${suffix}`,
      elsewhere: others.length,
    };
  }
  if (status && status.peers.length === 0) return { text: "no other node knows it yet", elsewhere: 0 };
  const names = status?.peers.map((peer) => peer.name).filter((name) => name !== null) ?? [];
  const few = names.length === status?.peers.length && names.length <= NAMES_MAX;
  return { text: `waiting for ${few ? names.join(" and ") : "the other nodes"}`, elsewhere: 0 };
}

interface SaveStateProps {
  saving: boolean;
  /** The document after the write; null before the first one. */
  saved: { seen_by?: SeenBy[] } | null;
}

export function SaveState({ saving, saved }: SaveStateProps) {
  const { data: status } = useStatus();
  const seen = saved && describeSeenBy(saved.seen_by ?? [], status);
  return (
    <p aria-live="polite" className="font-semibold empty:h-0">
      {saving ? (
        common.saving
      ) : seen ? (
        <span className={seen.elsewhere > 0 ? "text-ok" : "text-warn"}>
          {seen.elsewhere > 0 ? "✓✓" : "✓"} Saved here · {seen.text}
        </span>
      ) : null}
    </p>
  );
}
