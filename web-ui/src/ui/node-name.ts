/** Names of nodes, from what this node knows about itself and its peers. */
import { useCallback } from "react";
import { useStatus } from "../api/queries.ts";
import { common } from "./texts.ts";

/** Enough of a key to tell nodes apart by eye. */
const SHORT = 8;

export function useNodeName(): (node: string | null | undefined) => string {
  const { data: status } = useStatus();
  return useCallback(
    (node) => {
      if (!node) return common.unknownNode;
      if (status?.node_id === node) return status.name;
      return status?.peers.find((peer) => peer.node_id === node)?.name ?? `${node.slice(0, SHORT)}…`;
    },
    [status],
  );
}
