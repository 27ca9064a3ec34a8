/** Many dead letters settled at once: as many requests as that takes, one after the other.
 *
 * Invariant: one run at a time, whatever is shown meanwhile; it ends where its page is left. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { api } from "../../api/client.ts";
import { type DeadLetterFilter, paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";

/** What one request came to. */
interface Part {
  settled: number;
  failed: number;
  /** Where the next request begins; null at the end. */
  next: string | null;
}

export type ManyAction = "replay" | "discard";

/** What the run that is under way, or was the last, came to so far. */
interface Done {
  action: ManyAction;
  /** Of which letters. */
  filter: DeadLetterFilter;
  settled: number;
  failed: number;
}

interface ManyState {
  done: Done | null;
  error: unknown;
}

export function useManyLetters() {
  const client = useQueryClient();
  const [state, setState] = useState<ManyState>({ done: null, error: null });
  const [busy, setBusy] = useState(false);
  const running = useRef(false);
  const here = useRef(false);
  useEffect(() => {
    here.current = true;
    return () => {
      here.current = false;
    };
  }, []);

  const run = async (action: ManyAction, filter: DeadLetterFilter) => {
    if (running.current) return;
    running.current = true;
    setBusy(true);
    setState({ done: null, error: null });
    let [settled, failed] = [0, 0];
    let cursor: string | null = null;
    try {
      do {
        const part: Part = await api.post<Part>(paths.deadLettersAction(action, filter, cursor), {});
        settled += part.settled;
        failed += part.failed;
        cursor = part.next;
        setState({ done: { action, filter, settled, failed }, error: null });
        // Nobody would see how the rest goes.
      } while (cursor !== null && here.current);
    } catch (error) {
      setState((before) => ({ ...before, error }));
    } finally {
      running.current = false;
      setBusy(false);
      await client.invalidateQueries({ queryKey: keys.deadLetters.all() });
      await client.invalidateQueries({ queryKey: keys.status() });
    }
  };
  return { state, busy, run };
}
