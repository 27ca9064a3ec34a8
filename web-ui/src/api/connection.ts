/** Whether the node itself answers, and how far this browser's clock is from the node's.
 *
 * `navigator.onLine` says nothing here: a node serves its page on a network that has no way out. What counts is whether
 * the last request came back. */
import { useSyncExternalStore } from "react";

export interface Connection {
  reachable: boolean;
  /** When the node last answered, in this browser's clock; null before the first answer. */
  lastAnswerMs: number | null;
}

/** Below this the two clocks count as equal: the header has a resolution of one second. */
const CLOCK_TOLERANCE_MS = 2_000;

let connection: Connection = { reachable: true, lastAnswerMs: null };
let clockOffsetMs = 0;
const listeners = new Set<() => void>();

function set(next: Connection) {
  const changed = next.reachable !== connection.reachable;
  connection = next;
  // Listeners hear only of changes; the time of the last answer is read when the node falls silent.
  if (changed) for (const listener of listeners) listener();
}

export function noteAnswer(dateHeader: string | null, sentMs: number, receivedMs: number) {
  set({ reachable: true, lastAnswerMs: receivedMs });
  const nodeMs = dateHeader === null ? Number.NaN : Date.parse(dateHeader);
  if (Number.isNaN(nodeMs)) return;
  const offset = nodeMs + 500 - (sentMs + receivedMs) / 2;
  clockOffsetMs = Math.abs(offset) <= CLOCK_TOLERANCE_MS ? 0 : offset;
}

export function noteSilence() {
  set({ ...connection, reachable: false });
}

/** The node's idea of now: the times it sends are in its clock, and a tablet's clock may be hours off. */
export const nodeNowMs = (): number => Date.now() + clockOffsetMs;

/** A moment of this browser's clock in the node's time, RFC 3339. */
export const inNodeTime = (browserMs: number): string => new Date(browserMs + clockOffsetMs).toISOString();

export function onConnectionChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const currentConnection = (): Connection => connection;

export function useConnection(): Connection {
  return useSyncExternalStore(onConnectionChange, currentConnection);
}
