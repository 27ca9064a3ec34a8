import { cleanup, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Route, Routes } from "react-router";
import { afterEach, expect, test } from "vitest";
import { useStatus } from "../api/queries.ts";
import { answerWith, show } from "../test-utils.tsx";
import { Warnings } from "./warnings.tsx";

afterEach(cleanup);

const letters = { code: "dead-letters", detail: "100 messages of sensors could not be read: see `muster dlq list`" };
const broker = { code: "broker", detail: "broker city cannot be reached" };
const harbour = { code: "broker", detail: "broker harbour cannot be reached" };
const unfit = { code: "decoders-unfit", detail: "decoders that do not fit: 2. Use `PUT /v1/decoders`" };
const strange = { code: "card-worn-out", detail: "the card has few writes left" };

/** There as soon as the node has said how it is. */
const NodeName = () => useStatus().data?.name;

function AskNow() {
  const { refetch } = useStatus();
  return (
    <button type="button" onClick={() => void refetch()}>
      Ask
    </button>
  );
}

/** The head, above a page that says where it is. */
function showWith(warnings: { code: string; detail: string }[]) {
  const body = { node_id: "1", name: "Truck 3", peers: [], dead_letters: 1_234, warnings };
  answerWith(() => ({ status: 200, body }));
  show(
    <>
      <NodeName />
      <AskNow />
      <Warnings />
      <Routes>
        <Route path="/devices/dead-letters" element={<h1>Letters</h1>} />
        <Route path="*" element={<h1>Elsewhere</h1>} />
      </Routes>
    </>,
  );
  return body;
}

const button = () => screen.findByRole("button", { name: "3 things to look after at this node" });

test("a node that is well has no warning in its head", async () => {
  showWith([]);
  await screen.findByText("Truck 3");
  expect(screen.queryByRole("button", { name: /look after/ })).toBeNull();
  expect(screen.getByRole("status").textContent).toBe("");
});

test("what somebody should look after is counted, told to a screen reader, and opened to sentences", async () => {
  showWith([letters, broker, strange]);
  const opener = await button();
  expect(screen.getByRole("status").textContent).toBe("3 things to look after at this node");
  expect(opener.getAttribute("aria-expanded")).toBe("false");
  expect(screen.queryByRole("list")).toBeNull();
  await userEvent.click(opener);
  expect(opener.getAttribute("aria-expanded")).toBe("true");
  const sentences = screen.getAllByRole("listitem").map((item) => item.textContent);
  expect(sentences).toEqual([
    `${(1_234).toLocaleString()} messages of sensors could not be read. See why, and read them again once the cause is fixed`,
    "broker city cannot be reached. See the brokers",
    "the card has few writes left. ",
  ]);
  expect(screen.getByRole("link", { name: "See the brokers" }).getAttribute("href")).toBe("/devices/sources");
});

test("the keyboard opens and closes it, and a link that is followed closes it, too", async () => {
  showWith([letters, broker, strange]);
  const opener = await button();
  opener.focus();
  await userEvent.keyboard("{Enter}");
  await userEvent.tab();
  expect(document.activeElement?.textContent).toMatch(/^See why/);
  await userEvent.keyboard("{Escape}");
  expect(screen.queryByRole("list")).toBeNull();
  expect(document.activeElement).toBe(opener);
  await userEvent.keyboard("{Enter}");
  await userEvent.click(screen.getByRole("link", { name: /^See why/ }));
  await screen.findByText("Letters");
  expect(screen.queryByRole("list")).toBeNull();
});

test("decoders that are not in use lead to where they can be changed", async () => {
  showWith([broker, unfit, strange]);
  await userEvent.click(await button());
  const link = screen.getByRole("link", { name: "See which decoders, and change or remove them" });
  expect(link.getAttribute("href")).toBe("/devices/sources");
  expect(screen.queryByText(/PUT/)).toBeNull();
});

test("the focus stays on a link whose warning counts or quotes something else by now", async () => {
  const node = showWith([broker, harbour, letters]);
  await userEvent.click(await button());
  const link = screen.getAllByRole("link", { name: "See the brokers" })[1];
  link?.focus();
  node.warnings = [broker, { ...harbour, detail: `${harbour.detail}: it is late` }, letters];
  // Not a click: that would take the focus.
  screen.getByText("Ask").click();
  expect(await screen.findByText(/it is late/)).toBeTruthy();
  expect(document.activeElement).toBe(link);
});
