import { focusManager } from "@tanstack/react-query";
import { cleanup, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test } from "vitest";
import { useStatus } from "../../api/queries.ts";
import type { AuditRecord } from "../../api/types.ts";
import { answerWith, show } from "../../test-utils.tsx";
import { AuditPage, detailsOf } from "./audit-page.tsx";

afterEach(() => {
  cleanup();
  focusManager.setFocused(undefined);
});

const record = (id: number, more: Partial<AuditRecord>): AuditRecord => ({
  id: String(id),
  at: "2026-11-22T06:00:00Z",
  actor: "mara",
  action: "edit",
  object: null,
  kind: null,
  detail: {},
  ...more,
});

const newest = [
  record(3, { object: "11aa", kind: "incidents", detail: { version: "9c" } }),
  record(2, { action: "mqtt.account.add", detail: { name: "lora", publish: ["a/#", "b/#"], subscribe: [] } }),
];
const oldest = [record(1, { actor: "rules", action: "telepathy.begin", object: "22bb", kind: "visions" })];

/** Two pages of the record. */
const node = () =>
  answerWith(({ path }) => {
    if (!path.startsWith("/v1/audit")) return { status: 200, body: { node_id: "1", peers: [] } };
    const page = path.includes("cursor=2") ? { items: oldest, next: null } : { items: newest, next: "2" };
    return { status: 200, body: { ...page, since: "1" } };
  });

test("who did what is said in words, with the page of what it was done to", async () => {
  node();
  show(<AuditPage />);
  const list = await screen.findByRole("list", { name: "Who did what" });
  expect(within(list).getByText(/changed/).textContent).toBe("mara changed an incident");
  expect(within(list).getByRole("link", { name: "an incident" }).getAttribute("href")).toBe("/incidents/11aa");
  expect(within(list).getByText("a/# b/#")).toBeTruthy();
  expect(within(list).queryByText("9c")).toBeNull();
});

test("older ones come when they are asked for, and a word that the page does not know is shown as it is", async () => {
  node();
  show(<AuditPage />);
  await userEvent.click(await screen.findByRole("button", { name: "Show more" }));
  expect((await screen.findByText(/telepathy/)).textContent).toBe("rules telepathy.begin visions");
  expect(screen.getByText("22bb")).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Show more" })).toBeNull();
});

test("it stays where it is when somebody comes back to the window, and moves when they ask", async () => {
  const seen = node();
  const asked = (path: string) => seen.filter((sent) => sent.path.startsWith(path)).length;
  const Beside = () => useStatus().data?.node_id;
  show(
    <>
      <AuditPage />
      <Beside />
    </>,
  );
  await screen.findByRole("list", { name: "Who did what" });
  await waitFor(() => expect(asked("/v1/status")).toBe(1));
  focusManager.setFocused(false);
  focusManager.setFocused(true);
  await waitFor(() => expect(asked("/v1/status")).toBe(2));
  expect(asked("/v1/audit")).toBe(1);
  await userEvent.click(screen.getByRole("button", { name: "Look again" }));
  await waitFor(() => expect(asked("/v1/audit")).toBe(2));
});

test("of a long list the beginning is shown", () => {
  const [topics] = detailsOf({ topics: Array.from({ length: 200 }, (_, number) => `site/${number}/#`), version: "1" });
  expect(topics?.name).toBe("topics");
  expect(topics?.text.length).toBe(301);
  expect(detailsOf({ dead_letter: "7", role: null })).toEqual([{ name: "dead letter", text: "7" }]);
});
