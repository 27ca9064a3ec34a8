import { cleanup, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Link, Route, Routes } from "react-router";
import { afterEach, expect, test } from "vitest";
import type { DeadLetter } from "../../api/types.ts";
import { answerWith, show } from "../../test-utils.tsx";
import { DeadLettersPage } from "./dead-letters-page.tsx";

afterEach(cleanup);

const letter = (id: number, topic: string): DeadLetter => ({
  id: String(id),
  source: "mqtt",
  topic,
  decoder: null,
  reason: "no decoder covers this topic",
  code: "unknown-topic",
  received_at: "2026-11-22T06:00:00Z",
  payload_base64: "",
  attempts: 1,
  retry_at: null,
  state: "open",
});
const flood = ["a/1", "a/2", "a/3", "b/1"].map((topic, index) => letter(index, topic));

/** An answer that a test lets go. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** A node with these letters, one broker, and as many parts to settle as are said. */
function nodeWith(settled: { next: string | null }[] = [{ next: null }]) {
  const list = gate();
  const part = gate();
  const seen = answerWith(async ({ method, path }) => {
    const { pathname, searchParams } = new URL(path, "http://node");
    const page = (items: unknown[]) => ({ status: 200, body: { items, next: null, since: "1" } });
    if (method === "POST") {
      await part.opened;
      return { status: 200, body: { settled: 2, failed: 0, ...(settled.shift() ?? { next: null }) } };
    }
    if (pathname === "/v1/brokers") return page([{ name: "city" }]);
    if (pathname !== "/v1/dead-letters") return { status: 200, body: { node_id: "1", peers: [], dead_letters: 4 } };
    const topic = searchParams.get("topic") ?? "";
    if (topic !== "") await list.opened;
    return page(flood.filter((each) => each.topic?.includes(topic)));
  });
  const sent = (method: string, beginning: string) =>
    seen.filter((each) => each.method === method && each.path.startsWith(beginning)).map(({ path }) => path);
  return { list, part, sent };
}

const showPage = () =>
  show(
    <>
      <Link to="/elsewhere">Leave</Link>
      <Routes>
        <Route path="/devices/dead-letters" element={<DeadLettersPage />} />
        <Route path="*" element={<h1>Elsewhere</h1>} />
      </Routes>
    </>,
    "/devices/dead-letters",
  );
const button = (name: string) => screen.findByRole("button", { name });
const isHeld = (element: HTMLElement) => element.getAttribute("aria-disabled") === "true";

test("letters of a filter that nobody has seen yet can be neither given up nor read again", async () => {
  const { list, sent } = nodeWith();
  showPage();
  await userEvent.type(await screen.findByLabelText("Part of the topic"), "b");
  const discard = await button("Discard all of these");
  const again = await button("Read all of these again");
  expect(screen.getAllByText(/^[ab]\/\d$/)).toHaveLength(4);
  expect([discard, again].map(isHeld)).toEqual([true, true]);
  await userEvent.click(discard);
  await userEvent.click(again);
  expect(screen.queryByRole("alert")).toBeNull();
  expect(sent("POST", "/v1/dead-letters")).toEqual([]);
  list.open();
  await waitFor(() => expect(screen.getAllByText(/^[ab]\/\d$/)).toHaveLength(1));
  await waitFor(() => expect(isHeld(discard)).toBe(false));
  await userEvent.click(discard);
  await userEvent.click(within(screen.getByRole("alert")).getByRole("button", { name: "Discard all of these" }));
  await waitFor(() => expect(sent("POST", "/v1/dead-letters")).toEqual(["/v1/dead-letters/discard?topic=b"]));
});

test("a run goes on in sight when the filter is changed, and no second one can be begun beside it", async () => {
  const { list, part, sent } = nodeWith([{ next: "9" }, { next: null }]);
  list.open();
  showPage();
  await userEvent.click(await button("Read all again"));
  await screen.findByText("More are to come: stay on this page.");
  await userEvent.type(screen.getByLabelText("Part of the topic"), "b");
  await waitFor(() => expect(screen.getAllByText(/^[ab]\/\d$/)).toHaveLength(1));
  const again = await button("Read all of these again");
  expect(isHeld(again)).toBe(true);
  await userEvent.click(again);
  part.open();
  await screen.findByText("Of those that were chosen before: 4 were read, 0 still cannot be.");
  await waitFor(() => expect(isHeld(again)).toBe(false));
  expect(sent("POST", "/v1/dead-letters")).toEqual([
    "/v1/dead-letters/replay?all=true",
    "/v1/dead-letters/replay?all=true&cursor=9",
  ]);
});

test("a run ends where its page is left", async () => {
  const { part, sent } = nodeWith([{ next: "9" }, { next: null }]);
  showPage();
  await userEvent.click(await button("Read all again"));
  await waitFor(() => expect(sent("POST", "/v1/dead-letters")).toHaveLength(1));
  await userEvent.click(screen.getByRole("link", { name: "Leave" }));
  await screen.findByText("Elsewhere");
  part.open();
  // Long enough for what would follow: each answer here comes at once.
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setTimeout(resolve, 0));
  expect(sent("POST", "/v1/dead-letters")).toEqual(["/v1/dead-letters/replay?all=true"]);
});

test("sources and reasons can be asked for of which no letter is on the screen", async () => {
  const { sent } = nodeWith();
  showPage();
  const source = await screen.findByLabelText("Source");
  const options = within(source)
    .getAllByRole("option")
    .map((option) => option.textContent);
  expect(options).toEqual(["Any source", "broker city", "mqtt"]);
  await userEvent.selectOptions(source, "broker city");
  const reason = screen.getByLabelText("Reason");
  await userEvent.click(reason);
  await userEvent.paste("Not a number ");
  const asked = new URLSearchParams({ source: "broker city", code: "not-a-number", state: "open", limit: "50" });
  await waitFor(() => expect(sent("GET", `/v1/dead-letters?${asked}`)).toHaveLength(1));
});
