import { cleanup, screen } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { useState } from "react";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Incident } from "../../api/types.ts";
import { answerWith, show } from "../../test-utils.tsx";
import { EditIncident, startEdit } from "./edit-incident.tsx";

const incident: Incident = {
  id: "i-1",
  version: "v1",
  created_at: "2026-11-20T11:00:00Z",
  updated_at: "2026-11-20T11:00:00Z",
  author: "Anna",
  node: "node-a",
  node_name: "Truck 3",
  conflicts: [],
  seen_by: [],
  folded_into: null,
  folds: [],
  title: "Flood",
  category: "Met",
  status: "reported",
  severity: "minor",
  description: "",
  location: null,
  tags: [],
  parent: null,
  source: null,
  raised_at: null,
  peak: null,
  cleared_at: null,
  evidence: null,
  _links: { self: "/v1/incidents/i-1" },
};

function Editor({ current, onSaved }: { current: Incident; onSaved: () => void }) {
  const [draft, setDraft] = useState(() => startEdit(incident));
  return (
    <EditIncident
      incident={current}
      draft={draft}
      onDraft={(next) => setDraft(next ?? startEdit(current))}
      onSaved={onSaved}
    />
  );
}

const problem = (code: string) => `https://muster.invalid/problems/${code}`;

afterEach(cleanup);

describe("an edit", () => {
  test("names the version that was on the screen when it began, and only what changed", async () => {
    const sent = answerWith(() => ({ status: 200, body: { ...incident, version: "v3" } }));
    const onSaved = vi.fn();
    show(<Editor current={{ ...incident, version: "v2", severity: "severe" }} onSaved={onSaved} />);
    expect(screen.getByText("Severity is now: Severe")).toBeTruthy();
    await userEvent.selectOptions(screen.getByLabelText("Status"), "active");
    await userEvent.click(screen.getByRole("button", { name: "Save" }));
    expect(onSaved).toHaveBeenCalledOnce();
    const write = sent.find(({ method }) => method === "PATCH");
    expect(write?.headers.get("if-match")).toBe('"v1"');
    expect(write?.headers.get("content-type")).toBe("application/merge-patch+json");
    expect(write?.body).toEqual({ status: "active" });
  });

  test("of a version that the node lacks is kept, and can be saved on top of what is shown now", async () => {
    const sent = answerWith(({ headers }) =>
      headers.get("if-match") === '"v1"'
        ? { status: 409, body: { type: problem("version-unknown"), status: 409 } }
        : { status: 200, body: { ...incident, version: "v3" } },
    );
    const onSaved = vi.fn();
    show(<Editor current={{ ...incident, version: "v2" }} onSaved={onSaved} />);
    await userEvent.type(screen.getByLabelText("Description (optional)"), "Cellars are full");
    await userEvent.click(screen.getByRole("button", { name: "Save" }));
    await screen.findByText(/does not know the version/);
    expect(screen.getByDisplayValue("Cellars are full")).toBeTruthy();
    expect(onSaved).not.toHaveBeenCalled();
    await userEvent.click(screen.getByRole("button", { name: "Save on top of what is shown now" }));
    expect(onSaved).toHaveBeenCalledOnce();
    const last = sent.filter(({ method }) => method === "PATCH").at(-1);
    expect(last?.headers.get("if-match")).toBe('"v2"');
    expect(last?.body).toEqual({ description: "Cellars are full" });
  });

  test("that is refused shows the reason at its field and keeps what was typed", async () => {
    answerWith(() => ({
      status: 422,
      body: { type: problem("invalid"), errors: [{ pointer: "/title", detail: "at most 256 bytes" }] },
    }));
    show(<Editor current={incident} onSaved={() => {}} />);
    const title = screen.getByLabelText("Title");
    await userEvent.type(title, " in the old town");
    await userEvent.click(screen.getByRole("button", { name: "Save" }));
    const reason = await screen.findByText("at most 256 bytes");
    expect(title.getAttribute("aria-invalid")).toBe("true");
    expect(title.getAttribute("aria-describedby")).toContain(reason.id);
    expect(screen.getByDisplayValue("Flood in the old town")).toBe(title);
  });
});
