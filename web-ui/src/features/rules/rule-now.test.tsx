import { cleanup, render, screen } from "@testing-library/react";
import { MemoryRouter } from "react-router";
import { afterEach, expect, test } from "vitest";
import type { RuleSeen } from "../../api/types.ts";
import { levelsOf } from "./rule-curves.tsx";
import { Seen } from "./rule-now.tsx";

afterEach(cleanup);

const momentAgo = () => new Date(Date.now() - 20_000).toISOString();

const heat = (): RuleSeen => ({
  device: "camp-1",
  channel: "heat_index",
  series: null,
  state: "clear",
  value: 33.512345,
  unit: "Cel",
  at: momentAgo(),
  received_at: momentAgo(),
  since: null,
  peak: null,
  incident: null,
  inputs: [
    { name: "t", value: 29.5, received_at: momentAgo(), counts: true },
    { name: "rh", value: 70, received_at: "2026-01-01T00:00:00Z", counts: false },
  ],
});

const show = (seen: RuleSeen) =>
  render(
    <MemoryRouter>
      <Seen seen={seen} />
    </MemoryRouter>,
  );

test("a virtual sensor is read with what it is made of, and what is too old is said", () => {
  show(heat());
  expect(screen.getByText("33.5123 °C")).toBeTruthy();
  expect(screen.getByText("Normal")).toBeTruthy();
  const [temperature, humidity] = screen.getAllByRole("definition");
  expect(temperature?.textContent).toMatch(/^29\.5 · \d+ s ago$/);
  expect(humidity?.textContent).toMatch(/too old to count$/);
  expect(screen.queryByRole("link")).toBeNull();
});

test("what is raised leads to its incident and says since when and how bad it was", () => {
  const peak = { at: momentAgo(), value: 44 };
  show({ ...heat(), state: "raised", value: null, since: momentAgo(), peak, incident: "inc-1", inputs: [] });
  expect(screen.getByText("Raised")).toBeTruthy();
  expect(screen.getByText("no value yet")).toBeTruthy();
  expect(screen.getByText(/Beyond its level since/).textContent).toMatch(/peak 44 °C$/);
  expect(screen.getByRole("link").getAttribute("href")).toBe("/incidents/inc-1");
});

test("levels are drawn as the rule says them, once where both are the same", () => {
  const none = { raise_above: null, clear_below: null, raise_below: null, clear_above: null };
  expect(levelsOf({ ...none, raise_below: 2, clear_above: 3 })).toEqual([
    { at: 2, text: "raises at 2", isAlarm: true },
    { at: 3, text: "ends at 3", isAlarm: false },
  ]);
  expect(levelsOf({ ...none, raise_above: 4, clear_below: 4 })).toHaveLength(1);
  expect(levelsOf(none)).toEqual([]);
});
