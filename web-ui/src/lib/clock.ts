/** One timer for every age on the screen; a component renders again only when its own words change. */
import { useSyncExternalStore } from "react";
import { nodeNowMs } from "../api/connection.ts";

const TICK_MS = 1_000;
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    for (const each of listeners) each();
  }, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** `read` is called each second with the node's time; its result must be a primitive. */
export function useClock<Value extends string | number | boolean>(read: (nowMs: number) => Value): Value {
  return useSyncExternalStore(subscribe, () => read(nodeNowMs()));
}
