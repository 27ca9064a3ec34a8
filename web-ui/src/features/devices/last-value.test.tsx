import { cleanup, screen } from "@testing-library/react";
import { afterEach, describe, expect, test } from "vitest";
import type { HeardBy, Series } from "../../api/types.ts";
import { answerWith, show } from "../../test-utils.tsx";
import { LastValue, newestOf } from "./last-value.tsx";

const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();

const last = (minutes: number, stale: boolean | null): NonNullable<Series["last"]> => ({
  at: minutesAgo(minutes),
  value: 4,
  raw: 3,
  calibration: "c-1",
  age_s: minutes * 60,
  stale,
  flags: [],
});

const series: Series = { id: "1", device: "river-1", channel: "level", unit: "m", count: 3, last: null, heard_by: [] };

const heard = (node: string, minutes: number): HeardBy => ({
  node,
  name: `Truck ${node}`,
  from: minutesAgo(600),
  to: minutesAgo(minutes),
  count: 10,
  last: { at: minutesAgo(minutes + 15), min: 2, mean: 2.5, max: 3, count: 5 },
});

afterEach(cleanup);

describe("a newest value", () => {
  test("is fresh or not as the node says, which knows how often the sensor should send", () => {
    answerWith(() => ({ status: 200, body: { node_id: "1", peers: [] } }));
    show(<LastValue series={{ ...series, last: last(30, false) }} />);
    expect(screen.queryByText("Not current")).toBeNull();
    cleanup();
    show(<LastValue series={{ ...series, last: last(1, true) }} />);
    expect(screen.getByText("Not current")).toBeTruthy();
  });

  test("of a sensor that states nothing is judged by its age", () => {
    answerWith(() => ({ status: 200, body: { node_id: "1", peers: [] } }));
    show(<LastValue series={{ ...series, last: last(30, null) }} />);
    expect(screen.getByText("Not current")).toBeTruthy();
  });

  test("says what the sensor sent where a calibration made something else of it", () => {
    answerWith(() => ({ status: 200, body: { node_id: "1", peers: [] } }));
    show(<LastValue series={{ ...series, last: last(1, false) }} />);
    expect(screen.getByText("(raw 3)")).toBeTruthy();
  });

  test("that its source doubts says so, and is not taken for old because of that", () => {
    answerWith(() => ({ status: 200, body: { node_id: "1", peers: [] } }));
    const doubted = { ...last(1, false), flags: ["not-news", "suspect"] as const };
    show(<LastValue series={{ ...series, last: { ...doubted, flags: [...doubted.flags] } }} />);
    expect(screen.getByText("doubted by its source")).toBeTruthy();
    expect(screen.queryByText("Not current")).toBeNull();
  });

  test("that only another node heard is not shown as this node's own, and never as fresh", () => {
    answerWith(() => ({ status: 200, body: { node_id: "1", peers: [] } }));
    show(<LastValue series={{ ...series, heard_by: [heard("2", 40), heard("3", 90)] }} />);
    expect(screen.getByText(/Not heard here. Heard by Truck 2, up to/).textContent).toContain("40 min ago and 1 more");
    expect(screen.getByText("mean of 15 min")).toBeTruthy();
    expect(screen.getByText("Not current")).toBeTruthy();
  });
});

test("of several nodes the one that heard it last is named", () => {
  expect(newestOf([heard("2", 40), heard("3", 5), heard("4", 90)])?.node).toBe("3");
  expect(newestOf([])).toBeNull();
});
