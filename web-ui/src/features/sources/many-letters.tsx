/** All that nobody could read, or all of a kind, read again or given up at once: as many requests as that takes. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/client.ts";
import { type DeadLetterFilter, paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import { Confirm } from "../../ui/confirm.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { texts } from "./texts.ts";

interface Part {
  settled: number;
  failed: number;
  /** Where the next request begins; null at the end. */
  next: string | null;
}

type Action = "replay" | "discard";

interface ManyLettersProps {
  filter: DeadLetterFilter;
  /** The filter says something: these are not all. */
  filtered: boolean;
  /** There are some to do something about. */
  any: boolean;
}

export function ManyLetters({ filter, filtered, any }: ManyLettersProps) {
  const client = useQueryClient();
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const run = async (action: Action) => {
    if (busy) return;
    setBusy(true);
    setError(null);
    let [settled, failed] = [0, 0];
    let cursor: string | null = null;
    try {
      do {
        const part: Part = await api.post<Part>(paths.deadLettersAction(action, filter, cursor), {});
        settled += part.settled;
        failed += part.failed;
        cursor = part.next;
        setDone(texts.manyDone[action](settled, failed));
      } while (cursor !== null);
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
      await client.invalidateQueries({ queryKey: keys.deadLetters.all() });
      await client.invalidateQueries({ queryKey: keys.status() });
    }
  };
  const words = filtered ? texts.ofThese : texts.ofAll;
  return (
    <div className="grid gap-2">
      {(any || busy) && (
        <div className="flex flex-wrap gap-2">
          <button type="button" className="button" aria-disabled={busy} onClick={() => void run("replay")}>
            {words.replay}
          </button>
          <Confirm
            busy={busy}
            question={words.discardAsk}
            confirm={words.discard}
            onConfirm={() => void run("discard")}
          >
            {words.discard}
          </Confirm>
        </div>
      )}
      <p aria-live="polite" className="text-sm font-semibold">
        {done}
      </p>
      {error !== null && <ErrorNotice error={error} />}
    </div>
  );
}
