import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import type { KnownPeer } from "../../api/types.ts";
import { PeerRow } from "./nodes-page.tsx";

afterEach(cleanup);

const peer: KnownPeer = {
  node_id: "node-b",
  name: "Truck",
  state: "connected",
  last_seen: null,
  behind_entries: 12,
  behind_bytes: 3_600,
  behind: [
    { lane: "life", entries: 3, bytes: 900 },
    { lane: "coordination", entries: 9, bytes: 2_700 },
  ],
  missing_entries: 1,
};

test("what is not there yet is told by urgency, and so is what is not here yet", () => {
  render(<PeerRow peer={peer} certain />);
  const lanes = screen.getAllByRole("listitem").map((item) => item.textContent);
  expect(lanes).toContain("3 life-safety entries not there yet");
  expect(lanes.indexOf("3 life-safety entries not there yet")).toBeLessThan(
    lanes.indexOf("9 coordination entries not there yet"),
  );
  expect(screen.getByText("1 change of theirs not here yet")).toBeTruthy();
});

test("a node that has everything, or of which nothing is known, has no list", () => {
  render(<PeerRow peer={{ ...peer, behind_entries: 0, behind: [], missing_entries: null }} certain />);
  expect(screen.getByText("Has everything of ours")).toBeTruthy();
  expect(screen.queryByText(/not t?here yet/)).toBeNull();
});
