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
const strange = { code: "card-worn-out", detail: "the card has few writes left" };

/** There as soon as the node has said how it is. */
const NodeName = () => useStatus().data?.name;

/** The head, above a page that says where it is. */
function showWith(warnings: { code: string; detail: string }[]) {
  answerWith(() => ({
    status: 200,
    body: { node_id: "1", name: "Truck 3", peers: [], dead_letters: 1_234, warnings },
  }));
  show(
    <>
      <NodeName />
      <Warnings />
      <Routes>
        <Route path="/devices/dead-letters" element={<h1>Letters</h1>} />
        <Route path="*" element={<h1>Elsewhere</h1>} />
      </Routes>
    </>,
  );
}

const button = () => screen.findByRole("button", { name: "3 things to look after at this node" });

test("a node that is well has no warning in its head", async () => {
  showWith([]);
  await screen.findByText("Truck 3");
  expect(screen.queryByRole("button")).toBeNull();
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
