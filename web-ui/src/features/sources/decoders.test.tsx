import { cleanup, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Decoder } from "../../api/types.ts";
import { answerWith, type Sent, show } from "../../test-utils.tsx";
import { Decoders } from "./decoders.tsx";

beforeEach(() => sessionStorage.clear());
afterEach(cleanup);

const added = (topic: string): Decoder => ({
  origin: "api",
  name: "tasmota",
  version: "1",
  topic,
  entry: { topic, format: "tasmota" },
  problem: null,
});
/** As the node shows what it cannot make out in its own store. */
const broken: Decoder = { ...added(""), name: "", version: "", entry: null, problem: "expected a map" };

/** A node that refuses what is no entry, as the API does. */
function nodeWith(items: Decoder[]): Sent[] {
  return answerWith(({ method, path, body }) => {
    if (path !== "/v1/decoders") return { status: 200, body: { node_id: "1", peers: [] } };
    if (method === "PUT") {
      const sent = (body as { items: { topic?: string }[] }).items;
      if (sent.some((entry) => entry.topic === undefined))
        return { status: 422, body: { errors: [{ pointer: "/items/0", detail: "missing field `topic`" }] } };
      items.splice(0, items.length, ...sent.map((entry) => added(entry.topic ?? "")));
    }
    return { status: 200, body: { items, next: null, since: "1", version: "v" } };
  });
}

const sentTopics = (seen: Sent[]) =>
  seen
    .filter(({ method }) => method === "PUT")
    .map(({ body }) => (body as { items: { topic: string }[] }).items.map(({ topic }) => topic));

test("beside what is stored and is no entry, a decoder is still added, and the page says that the former goes", async () => {
  const seen = nodeWith([broken, added("a/#")]);
  show(<Decoders />);
  const [row] = await screen.findAllByRole("listitem");
  expect(row?.textContent).toMatch(/no entry.*goes with the next change.*expected a map/);
  expect(within(row as HTMLElement).queryByRole("button", { name: /^Edit/ })).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Add a decoder" }));
  await userEvent.click(screen.getByRole("button", { name: "Tasmota" }));
  await userEvent.click(screen.getByRole("button", { name: "Save" }));
  await screen.findByText("Saved here, and in use from the next message on.");
  expect(sentTopics(seen)).toEqual([["a/#", "tele/#"]]);
});

test("an entry that stands behind what is none is the one that is removed", async () => {
  const seen = nodeWith([broken, added("a/#"), added("b/#")]);
  show(<Decoders />);
  await userEvent.click(await screen.findByRole("button", { name: "Remove the decoder of a/#" }));
  await userEvent.click(screen.getByRole("button", { name: "Remove it" }));
  await screen.findByText("Saved here, and in use from the next message on.");
  expect(sentTopics(seen)).toEqual([["b/#"]]);
});

test("what is no entry can be removed, and the others stay", async () => {
  const seen = nodeWith([added("a/#"), broken]);
  show(<Decoders />);
  await userEvent.click(await screen.findByRole("button", { name: "Remove what is no entry" }));
  await userEvent.click(screen.getByRole("button", { name: "Remove it" }));
  await screen.findByText("Saved here, and in use from the next message on.");
  expect(sentTopics(seen)).toEqual([["a/#"]]);
});
