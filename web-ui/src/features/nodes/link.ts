/** What the state of a peer means to a person. States this page does not know count as not linked. */
import type { Peer } from "../../api/types.ts";

const LINKED = new Set(["connected", "live", "syncing", "online", "up"]);

export const isLinked = (peer: Pick<Peer, "state">): boolean => LINKED.has(peer.state);
