import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import type { KnownPeer } from "../../api/types.ts";
import { FaultsNotice, PeerRow } from "./nodes-page.tsx";

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
  agreed: { state: "unproven", at: null, digest: null, objects: 0 },
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

const momentAgo = () => new Date(Date.now() - 20_000).toISOString();

test("what two nodes made of the same entries is told with its age, and nothing before they compared", () => {
  const agreed = { state: "equal" as const, at: momentAgo(), digest: "4f3a", objects: 0 };
  const { rerender } = render(<PeerRow peer={{ ...peer, agreed }} certain />);
  expect(screen.getByText(/Shows the same as this node, compared/).textContent).toMatch(/compared \d+ s ago$/);
  const differs = { state: "differs" as const, at: momentAgo(), digest: null, objects: 2 };
  rerender(<PeerRow peer={{ ...peer, agreed: differs }} certain />);
  expect(screen.getByText(/Shows 2 documents in another way/).textContent).toMatch(/noticed \d+ s ago$/);
  rerender(<PeerRow peer={{ ...peer, agreed: { ...differs, objects: 0 } }} certain />);
  expect(screen.getByText(/other entries waiting or in quarantine/)).toBeTruthy();
  rerender(<PeerRow peer={peer} certain />);
  expect(screen.queryByText(/compared|noticed/)).toBeNull();
});

test("faults of sync are a notice until somebody has looked at them", () => {
  const { rerender } = render(<FaultsNotice faults={{ unseen: 1, last_at: momentAgo() }} />);
  expect(screen.getByRole("status").textContent).toMatch(/showed something else.*Last noticed \d+ s ago/);
  rerender(<FaultsNotice faults={{ unseen: 0, last_at: null }} />);
  expect(screen.queryByRole("status")).toBeNull();
});
