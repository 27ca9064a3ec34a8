/** The node's event stream: turns `incident.changed` and its like into refetches of what is on the screen.
 *
 * Invariant: after any gap in the stream everything is refetched; nothing relies on having heard every event. */
import type { QueryClient } from "@tanstack/react-query";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { askAgain, askIfIdle, everything } from "./ask-again.ts";
import { currentConnection } from "./connection.ts";
import { paths } from "./paths.ts";
import { keys } from "./queries.ts";

/** The kinds whose changes this page shows; EventSource needs each name. */
const KINDS = [
  "incident",
  "resource",
  "assignment",
  "device",
  "calibration",
  "rule",
  "message",
  "conflict",
  "dead-letter",
] as const;

/** Changes within this time become one refetch: a sync session may bring hundreds at once. */
const GATHER_MS = 200;
/** While the stream is broken and the node answers, the page asks by itself. */
const ASK_EVERY_MS = 5_000;
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 15_000;

let live = false;
const listeners = new Set<() => void>();

function setLive(next: boolean) {
  if (live === next) return;
  live = next;
  for (const listener of listeners) listener();
}

/** Whether changes arrive by themselves at the moment. */
export function useLive(): boolean {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => live,
  );
}

const pluralOf: Record<string, string> = {
  incident: "incidents",
  resource: "resources",
  assignment: "assignments",
  device: "devices",
  calibration: "calibrations",
  message: "messages",
  rule: "rules",
  conflict: "conflicts",
  "dead-letter": "dead-letters",
};

function refetch(client: QueryClient, kind: string) {
  askAgain(client, { queryKey: [pluralOf[kind] ?? kind] });
  // They are no documents: the status counts them, and warns of too many.
  if (kind === "dead-letter") {
    askAgain(client, { queryKey: keys.status() });
    return;
  }
  // An edit can open or settle a conflict; an assignment changes the state of its resource.
  if (kind !== "conflict") askAgain(client, { queryKey: keys.conflicts.all() });
  // What a reading means, and so every value and chart of its channel.
  if (kind === "calibration") askAgain(client, { queryKey: keys.devices.all() });
  if (kind === "assignment") askAgain(client, { queryKey: keys.resources.all() });
}

/** Opens the stream and keeps it open; returns what closes it. */
export function follow(client: QueryClient): () => void {
  let source: EventSource | null = null;
  let retryMs = RETRY_MS_MIN;
  let retryTimer: ReturnType<typeof setTimeout> | undefined;
  let gatherTimer: ReturnType<typeof setTimeout> | undefined;
  let askTimer: ReturnType<typeof setInterval> | undefined;
  let opened = false;
  const changed = new Set<string>();

  const flush = () => {
    gatherTimer = undefined;
    for (const kind of changed) refetch(client, kind);
    changed.clear();
  };

  const open = () => {
    source = new EventSource(paths.events());
    source.onopen = () => {
      retryMs = RETRY_MS_MIN;
      setLive(true);
      clearInterval(askTimer);
      askTimer = undefined;
      if (opened) askAgain(client, everything);
      opened = true;
    };
    source.onerror = () => {
      setLive(false);
      askTimer ??= setInterval(() => {
        if (currentConnection().reachable) askIfIdle(client, everything);
      }, ASK_EVERY_MS);
      // Tells a lost node from a lost session.
      askIfIdle(client, { queryKey: keys.status() });
      // CONNECTING: the browser tries again by itself. CLOSED: it has given up, as after an error answer.
      if (source?.readyState !== EventSource.CLOSED) return;
      source.close();
      retryTimer = setTimeout(open, retryMs * (0.75 + Math.random() / 2));
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
    };
    for (const kind of KINDS) {
      source.addEventListener(`${kind}.changed`, () => {
        changed.add(kind);
        gatherTimer ??= setTimeout(flush, GATHER_MS);
      });
    }
    source.addEventListener("reset", () => askAgain(client, everything));
  };

  open();
  return () => {
    clearTimeout(retryTimer);
    clearTimeout(gatherTimer);
    clearInterval(askTimer);
    source?.close();
    setLive(false);
  };
}

export function useEventStream(enabled: boolean) {
  const client = useQueryClient();
  useEffect(() => (enabled ? follow(client) : undefined), [client, enabled]);
}
