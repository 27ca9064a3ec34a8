import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test } from "vitest";
import { samplesOf } from "./samples.ts";
import { SamplesTable } from "./table.tsx";

afterEach(cleanup);

const at = "2026-11-21T10:00:00Z";
const table = (flags?: string[][]) => {
  const points = [
    [at, 1],
    [at, 7],
    ["2026-11-21T10:01:00Z", 3],
  ];
  // What the node answers where nothing is to be said: no flags at all.
  const answer = { resolution: "raw", points, ...(flags && { flags }) } as Parameters<typeof samplesOf>[0];
  return <SamplesTable caption="level" samples={samplesOf(answer)} gaps={[]} raw value={String} />;
};

const rows = () => screen.getAllByRole("row").map((row) => row.textContent ?? "");

test("says beside each value what is to be known about it, and shows both of two that contradict each other", async () => {
  render(table([["contradicts"], ["contradicts"], ["not-news", "suspect"]]));
  await userEvent.click(screen.getByText("Values as a table"));
  const [, newest, second, first] = rows();
  expect(newest).toMatch(/3rules did not look at it, doubted by its source$/);
  expect(second).toMatch(/7another value has the same time$/);
  expect(first).toMatch(/1another value has the same time$/);
});

test("says nothing beside values of which the node says nothing", async () => {
  render(table());
  await userEvent.click(screen.getByText("Values as a table"));
  expect(screen.getAllByRole("cell").map((cell) => cell.textContent)).toEqual(["3", "7", "1"]);
});
