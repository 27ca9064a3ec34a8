import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { noteAnswer, noteSilence } from "./connection.ts";
import { follow } from "./events.ts";

/** The browser's end of a stream that a test opens, breaks and speaks on. */
class FakeSource extends EventTarget {
  static readonly CLOSED = 2;
  static newest: FakeSource;
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;

  constructor() {
    super();
    FakeSource.newest = this;
  }

  close() {
    this.readyState = FakeSource.CLOSED;
  }
}

/** The node's answers take so long. */
let answerMs: number;
/** What was asked, in order. */
let asked: string[];
let answered: number;
let abandoned: number;
let stop: () => void;
let leave: (() => void)[];

/** What is on the screen: each asks the node, and gives up where the page tells it to. */
function showOnScreen(client: QueryClient, ...names: string[]) {
  leave = names.map((name) =>
    new QueryObserver(client, {
      queryKey: [name],
      queryFn: ({ signal }) => {
        asked.push(name);
        signal.addEventListener("abort", () => {
          abandoned += 1;
        });
        return new Promise((resolve) => {
          setTimeout(() => {
            answered += 1;
            resolve(answered);
          }, answerMs);
        });
      },
    }).subscribe(() => {}),
  );
}

beforeEach(async () => {
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", FakeSource);
  const client = new QueryClient({ defaultOptions: { queries: { networkMode: "always" } } });
  [asked, answered, abandoned, answerMs] = [[], 0, 0, 10];
  noteAnswer(null, 0, 0);
  stop = follow(client);
  showOnScreen(client, "dead-letters", "status", "incidents", "audit");
  await vi.advanceTimersByTimeAsync(1_000);
  asked = [];
});

afterEach(() => {
  stop();
  for (const end of leave) end();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const changed = (kind: string) => FakeSource.newest.dispatchEvent(new Event(`${kind}.changed`));
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

const EVERYTHING = ["dead-letters", "status", "incidents"];

test("changes of one moment are one question, and dead letters are asked for with their count", async () => {
  FakeSource.newest.onopen?.();
  changed("dead-letter");
  changed("dead-letter");
  await pass(1_000);
  expect(asked).toEqual(["dead-letters", "status"]);
});

test("answers that take longer than changes come are waited for, and each is followed by a newer one", async () => {
  answerMs = 5_000;
  FakeSource.newest.onopen?.();
  // Six answers of 5 s one after the other, while a change comes every 2 s.
  for (let second = 0; second < 30; second += 2) {
    changed("dead-letter");
    await pass(2_000);
  }
  expect(abandoned).toBe(0);
  expect(asked.filter((name) => name === "dead-letters").length).toBe(6);
  await pass(20_000);
  expect(answered - 4).toBe(asked.length);
});

test("what changed after a question is asked for once more when the answer is there, and then no more", async () => {
  answerMs = 5_000;
  FakeSource.newest.onopen?.();
  changed("incident");
  await pass(1_000);
  changed("incident");
  await pass(1_000);
  changed("incident");
  await pass(2_000);
  expect(asked).toEqual(["incidents"]);
  await pass(2_000);
  expect(asked).toEqual(["incidents", "incidents"]);
  await pass(60_000);
  expect(asked).toEqual(["incidents", "incidents"]);
  expect(abandoned).toBe(0);
});

test("while the stream is broken the page asks by itself, unless the node is silent, and stops when it is back", async () => {
  FakeSource.newest.onopen?.();
  FakeSource.newest.onerror?.();
  expect(asked).toEqual(["status"]);
  await pass(10_500);
  expect(asked).toEqual(["status", ...EVERYTHING, ...EVERYTHING]);
  noteSilence();
  asked = [];
  await pass(10_000);
  expect(asked).toEqual([]);
  noteAnswer(null, 0, 0);
  FakeSource.newest.onopen?.();
  expect(asked).toEqual(EVERYTHING);
  await pass(60_000);
  expect(asked).toEqual(EVERYTHING);
});

test("while the stream is broken, answers that take longer than the page's own questions are waited for", async () => {
  answerMs = 7_000;
  FakeSource.newest.onopen?.();
  FakeSource.newest.onerror?.();
  await pass(60_000);
  expect(abandoned).toBe(0);
  expect(answered).toBeGreaterThan(4 + 2 * EVERYTHING.length);
});

test("the audit record stays as it was opened, whatever else is asked for", async () => {
  FakeSource.newest.onopen?.();
  FakeSource.newest.dispatchEvent(new Event("reset"));
  FakeSource.newest.onerror?.();
  await pass(12_000);
  FakeSource.newest.onopen?.();
  await pass(1_000);
  expect(asked).toContain("incidents");
  expect(asked).not.toContain("audit");
});
