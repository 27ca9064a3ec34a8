import { QueryClient } from "@tanstack/react-query";
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

let asked: string[];
let stop: () => void;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", FakeSource);
  const client = new QueryClient();
  asked = [];
  vi.spyOn(client, "invalidateQueries").mockImplementation(async (filters) => {
    asked.push((filters?.queryKey ?? ["everything"]).join(" "));
  });
  noteAnswer(null, 0, 0);
  stop = follow(client);
});

afterEach(() => {
  stop();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const changed = (kind: string) => FakeSource.newest.dispatchEvent(new Event(`${kind}.changed`));

test("changes of one moment are one question, and dead letters are asked for with their count", () => {
  FakeSource.newest.onopen?.();
  changed("dead-letter");
  changed("dead-letter");
  vi.advanceTimersByTime(1_000);
  expect(asked).toEqual(["dead-letters", "status"]);
});

test("while the stream is broken the page asks by itself, unless the node is silent, and stops when it is back", () => {
  FakeSource.newest.onopen?.();
  FakeSource.newest.onerror?.();
  expect(asked).toEqual(["status"]);
  vi.advanceTimersByTime(10_000);
  expect(asked).toEqual(["status", "everything", "everything"]);
  noteSilence();
  vi.advanceTimersByTime(10_000);
  expect(asked.length).toBe(3);
  noteAnswer(null, 0, 0);
  FakeSource.newest.onopen?.();
  expect(asked.length).toBe(4);
  vi.advanceTimersByTime(60_000);
  expect(asked.length).toBe(4);
});
