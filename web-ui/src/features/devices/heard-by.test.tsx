import { cleanup, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import type { Device, DeviceHeardBy } from "../../api/types.ts";
import { answerWith, show } from "../../test-utils.tsx";
import { HeardBySection, HeardElsewhere } from "./heard-by.tsx";

const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();

const heard = (node: string, minutes: number, here = false): DeviceHeardBy => ({
  node,
  name: `Truck ${node}`,
  here,
  said_at: here ? null : minutesAgo(minutes),
  last_seen: minutesAgo(minutes),
  online: null,
  battery_pct: null,
  battery_at: null,
  rssi_dbm: -101,
  rssi_at: minutesAgo(minutes),
});

afterEach(cleanup);

test("each node that hears a device is named with its signal, and nobody where this node alone does", () => {
  answerWith(() => ({ status: 200, body: { node_id: "1", peers: [] } }));
  show(<HeardBySection heardBy={[heard("2", 5), heard("1", 40, true)]} />);
  const items = screen.getAllByRole("listitem").map((item) => item.textContent);
  expect(items).toEqual([
    "Truck 2Last heard 5 min agoSignal -101 dBm · 5 min ago",
    "Truck 1Last heard 40 min agoSignal -101 dBm · 40 min ago",
  ]);
  cleanup();
  show(<HeardBySection heardBy={[heard("1", 40, true)]} />);
  expect(screen.queryByText("Who hears it")).toBeNull();
});

test("a device that another node heard last says so", () => {
  answerWith(() => ({ status: 200, body: { node_id: "1", peers: [] } }));
  const elsewhere = (heard_by: DeviceHeardBy[]) => <HeardElsewhere device={{ heard_by } as Device} />;
  show(elsewhere([heard("2", 5), heard("1", 40, true)]));
  expect(screen.getByText("by Truck 2")).toBeTruthy();
  cleanup();
  show(elsewhere([heard("1", 5, true), heard("2", 40)]));
  expect(screen.queryByText(/by Truck/)).toBeNull();
});
