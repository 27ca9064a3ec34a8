import { cleanup, screen, waitFor } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { afterEach, describe, expect, test } from "vitest";
import type { Conflict } from "../../api/types.ts";
import { answerWith, show } from "../../test-utils.tsx";
import { ConflictView } from "./conflict-card.tsx";

const conflict: Conflict = {
  id: "c-1",
  kind: "field",
  documents: [{ kind: "incident", id: "i-1", title: "Flood", href: "/v1/incidents/i-1" }],
  field: "severity",
  summary: "Set apart on two nodes",
  values: [
    {
      choice: "x-1",
      value: "severe",
      author: "Anna",
      node: "node-a",
      node_name: null,
      at: new Date(Date.now() - 300_000).toISOString(),
    },
    {
      choice: "x-2",
      value: "extreme",
      author: "Murat",
      node: "node-b",
      node_name: null,
      at: new Date(Date.now() - 60_000).toISOString(),
    },
  ],
  state: "open",
  resolution: null,
  choices: [
    { id: "x-1", label: "severe" },
    { id: "x-2", label: "extreme" },
  ],
};

const status = {
  node_id: "node-a",
  name: "Truck 3",
  peers: [{ node_id: "node-b", name: "HQ", state: "connected", last_seen: null, behind_entries: 0, behind: [] }],
};

afterEach(cleanup);

describe("an open conflict", () => {
  test("shows each value with who entered it, where and how long ago", async () => {
    answerWith(() => ({ status: 200, body: status }));
    show(<ConflictView conflict={conflict} />);
    const items = screen.getAllByRole("listitem");
    await waitFor(() => expect(items[1]?.textContent).toContain("Murat at HQ"));
    expect(items[0]?.textContent).toContain("Severe");
    expect(items[0]?.textContent).toContain("5 min ago");
    expect(items[1]?.textContent).toContain("1 min ago");
  });

  test("is settled by the choice that belongs to the value", async () => {
    const sent = answerWith(({ method }) => ({
      status: 200,
      body: method === "POST" ? { ...conflict, state: "resolved" } : status,
    }));
    show(<ConflictView conflict={conflict} />);
    await userEvent.click(screen.getByRole("button", { name: "Choose “Extreme”" }));
    await screen.findByText(/Settled here/);
    const write = sent.find(({ method }) => method === "POST");
    expect(write).toMatchObject({ path: "/v1/conflicts/c-1/resolve", body: { choice: "x-2" } });
  });

  test("takes a value that nobody had entered, from the words of the field", async () => {
    const sent = answerWith(({ method }) => ({ status: 200, body: method === "POST" ? conflict : status }));
    show(<ConflictView conflict={conflict} />);
    await userEvent.click(screen.getByRole("button", { name: "Enter a different value" }));
    await userEvent.selectOptions(screen.getByLabelText("Different value for Severity"), "moderate");
    await userEvent.click(screen.getByRole("button", { name: "Use this value" }));
    await waitFor(() => expect(sent.find(({ method }) => method === "POST")?.body).toEqual({ value: "moderate" }));
  });

  test("stays open to another try with the same key when the node does not answer", async () => {
    let tries = 0;
    const sent = answerWith(({ method }) => {
      if (method !== "POST") return { status: 200, body: status };
      tries += 1;
      return tries === 1 ? "silence" : { status: 200, body: { ...conflict, state: "resolved" } };
    });
    show(<ConflictView conflict={conflict} />);
    const choose = screen.getByRole("button", { name: "Choose “Severe”" });
    await userEvent.click(choose);
    expect((await screen.findByRole("alert")).textContent).toContain("The node did not answer");
    await userEvent.click(choose);
    await screen.findByText(/Settled here/);
    const keys = sent.filter(({ method }) => method === "POST").map(({ headers }) => headers.get("idempotency-key"));
    expect(keys).toHaveLength(2);
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(keys[1]).toBe(keys[0]);
  });

  test("about a number takes a number, and nothing else", async () => {
    const sent = answerWith(() => ({ status: 200, body: { ...status, ...conflict } }));
    const values = conflict.values.map((value, index) => ({ ...value, value: 4 + index }));
    show(<ConflictView conflict={{ ...conflict, field: "raise_above", values }} />);
    await userEvent.click(screen.getByRole("button", { name: "Enter a different value" }));
    const input = screen.getByLabelText("Different value for Raises above");
    await userEvent.type(input, "high");
    await userEvent.click(screen.getByRole("button", { name: "Use this value" }));
    await screen.findByText("A number.");
    await userEvent.clear(input);
    await userEvent.type(input, "4,5");
    await userEvent.click(screen.getByRole("button", { name: "Use this value" }));
    await waitFor(() => expect(sent.find(({ method }) => method === "POST")?.body).toEqual({ value: 4.5 }));
  });

  test("about a formula is settled by choosing, or in the rule's own form", () => {
    answerWith(() => ({ status: 200, body: status }));
    const values = conflict.values.map((value, index) => ({
      ...value,
      value: { formula: `a + ${index}`, inputs: [] },
    }));
    const documents = [{ kind: "rule", id: "r-1", title: "Air", href: "/v1/rules/r-1" }];
    show(<ConflictView conflict={{ ...conflict, field: "expression", values, documents }} showDocument />);
    expect(screen.queryByRole("button", { name: "Enter a different value" })).toBeNull();
    expect(screen.getByRole("link", { name: "Open the rule “Air”" }).getAttribute("href")).toBe("/rules/r-1");
  });
});
