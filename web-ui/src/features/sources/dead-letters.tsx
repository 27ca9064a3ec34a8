/** What could not be decoded: how many, why, and what can be done about each. */
import { useQueryClient } from "@tanstack/react-query";
import { ApiError, api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useDeadLetters, useStatus } from "../../api/queries.ts";
import type { DeadLetter } from "../../api/types.ts";
import { Age } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { common, label } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { ManyLetters } from "./many-letters.tsx";
import { texts } from "./texts.ts";

export function DeadLetters() {
  const letters = useDeadLetters();
  const { data: status } = useStatus();
  const count = status?.dead_letters ?? letters.data?.length ?? 0;
  return (
    <section aria-labelledby="dead-letters" className="card p-4">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <h2 id="dead-letters">{texts.deadLetters}</h2>
        {count > 0 && <Tag tone="warn">{count.toLocaleString()}</Tag>}
      </div>
      <p className="mb-3 text-sm text-ink-soft">{texts.deadLettersLead}</p>
      {count > 0 && <ManyLetters />}
      <ListState query={letters} empty={texts.deadLettersNone}>
        <ul className="grid gap-2">
          {letters.data?.map((letter) => (
            <Letter key={letter.id} letter={letter} />
          ))}
        </ul>
      </ListState>
    </section>
  );
}

function Letter({ letter }: { letter: DeadLetter }) {
  const client = useQueryClient();
  const write = useWrite((action: "replay" | "discard", key) =>
    api.post<unknown>(paths.deadLetterAction(letter.id, action), {}, key),
  );
  const run = async (action: "replay" | "discard") => {
    // A replay that fails again is an answer too: the list shows its new count of attempts.
    await write.run(action);
    await client.invalidateQueries({ queryKey: keys.deadLetters.all() });
  };
  // Read again, and refused again: the reason is all there is to say.
  const unreadable = write.error instanceof ApiError && write.error.status === 409 ? write.error.message : null;
  const topic = letter.topic ?? letter.source;
  return (
    <li className="rounded-lg border border-line p-3">
      <p className="font-mono text-sm font-bold">{topic}</p>
      <p>{letter.reason}</p>
      <p className="text-sm text-ink-soft">
        {letter.source} · {texts.received} <Age at={letter.received_at} /> · {texts.attempts(letter.attempts)} ·{" "}
        {label(letter.state)}
        {letter.decoder && ` · ${letter.decoder}`}
        {letter.retry_at && ` · ${texts.retry(new Date(letter.retry_at).toLocaleTimeString())}`}
      </p>
      {unreadable ? (
        <Notice tone="warn" role="alert" title={unreadable} />
      ) : (
        write.error !== null && <ErrorNotice error={write.error} />
      )}
      <div className="mt-2 flex flex-wrap gap-2">
        {(["replay", "discard"] as const).map((action) => (
          <button
            key={action}
            type="button"
            className="button"
            aria-label={texts.letterOf(texts[action], topic)}
            aria-disabled={write.saving}
            onClick={() => void run(action)}
          >
            {texts[action]}
          </button>
        ))}
        <p aria-live="polite">{write.saving && common.saving}</p>
      </div>
    </li>
  );
}
