import { expect, test } from "vitest";
import type { NodeStatus } from "../api/types.ts";
import { describeSeenBy } from "./save-state.tsx";

const peer = (node_id: string, name: string) => ({
  node_id,
  name,
  state: "connected",
  last_seen: null,
  behind_entries: 0,
  behind_bytes: 0,
  behind: [],
  missing_entries: 0,
});
const status = (peers: ReturnType<typeof peer>[]) => ({ node_id: "me", peers }) as unknown as NodeStatus;
const stored = (node: string, name: string) => ({ node, name, stored_at: "2026-11-20T12:00:00Z", applied_at: null });

test("what only this node has waits for the others by name", () => {
  expect(describeSeenBy([], status([peer("hq", "Linz"), peer("b", "Truck")])).text).toBe("waiting for Linz and Truck");
  expect(describeSeenBy([], status([peer("b", "Truck")])).text).toBe("waiting for Truck");
  expect(describeSeenBy([], status([])).text).toBe("no other node knows it yet");
});

test("this node does not count as another, nor does a node that has not stored it", () => {
  const seenBy = [stored("me", "Here"), { node: "b", name: "Truck", stored_at: null, applied_at: null }];
  expect(describeSeenBy(seenBy, status([peer("b", "Truck")])).elsewhere).toBe(0);
});

test("nodes that stored it are counted and named", () => {
  const seenBy = [stored("hq", "Linz"), stored("b", "Truck")];
  expect(describeSeenBy(seenBy, status([]))).toEqual({ text: "seen by 2 nodes (Linz, Truck)", elsewhere: 2 });
});
