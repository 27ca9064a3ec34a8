/** What could not be decoded: how many, why, and what can be done about each, or about all of a kind. */
import { useQueryClient } from "@tanstack/react-query";
import { Link, useSearchParams } from "react-router";
import { ApiError, api } from "../../api/client.ts";
import { type DeadLetterFilter, paths } from "../../api/paths.ts";
import { keys, useDeadLetters, useStatus } from "../../api/queries.ts";
import type { DeadLetter } from "../../api/types.ts";
import { Age } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { common, label } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { preview } from "./bytes.ts";
import { filterOf, LetterFilter, type TypedFilter } from "./letter-filter.tsx";
import { ManyLetters } from "./many-letters.tsx";
import { texts } from "./texts.ts";

/** So few are looked through without a filter. */
const FEW = 3;

/** The filter is in the address, as it was typed: what somebody looks at can be sent to somebody else. */
function useFilter() {
  const [search, setSearch] = useSearchParams();
  const inAddress = (field: keyof DeadLetterFilter) => search.get(field) ?? "";
  const typed: TypedFilter = { source: inAddress("source"), topic: inAddress("topic"), code: inAddress("code") };
  const setField = (field: keyof DeadLetterFilter, value: string) => {
    const next = new URLSearchParams(search);
    if (value === "") next.delete(field);
    else next.set(field, value);
    setSearch(next, { replace: true, preventScrollReset: true });
  };
  return { filter: filterOf(typed), typed, setField };
}

export function DeadLettersPage() {
  const { filter, typed, setField } = useFilter();
  const letters = useDeadLetters(filter);
  const open = useStatus().data?.dead_letters ?? 0;
  const filtered = Object.keys(filter).length > 0;
  const shown = letters.data ?? [];
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <div>
        <Link className="link inline-flex min-h-10 items-center" to="/devices/sources">
          ← {texts.title}
        </Link>
        <div className="mb-1 flex flex-wrap items-center justify-between gap-2">
          <h1>{texts.deadLetters}</h1>
          {open > 0 && <Tag tone="warn">{texts.openLetters(open)}</Tag>}
        </div>
        <p className="max-w-prose text-ink-soft">{texts.deadLettersLead}</p>
      </div>
      {(Object.values(typed).some((value) => value !== "") || shown.length > FEW) && (
        <LetterFilter typed={typed} letters={shown} onField={setField} />
      )}
      <ManyLetters filter={filter} filtered={filtered} any={shown.length > 0} current={!letters.isPlaceholderData} />
      <ListState query={letters} empty={filtered ? texts.noneFound : texts.deadLettersNone}>
        <ul aria-label={texts.deadLetters} className="grid grid-cols-[minmax(0,1fr)] gap-2">
          {shown.map((letter) => (
            <Letter key={letter.id} letter={letter} />
          ))}
        </ul>
      </ListState>
    </div>
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
    <li className="card gap-4 p-3 lg:flex lg:items-start lg:justify-between">
      <div className="min-w-0">
        <p className="font-mono text-sm font-bold">{topic}</p>
        <p>{letter.reason}</p>
        <Payload base64={letter.payload_base64} />
        <p className="text-sm text-ink-soft">
          {letter.source} · {texts.received} <Age at={letter.received_at} /> · {texts.attempts(letter.attempts)} ·{" "}
          {label(letter.state)}
          {letter.code && ` · ${letter.code}`}
          {letter.decoder && ` · ${letter.decoder}`}
          {letter.retry_at && ` · ${texts.retry(new Date(letter.retry_at).toLocaleTimeString())}`}
        </p>
        {unreadable ? (
          <Notice tone="warn" role="alert" title={unreadable} />
        ) : (
          write.error !== null && <ErrorNotice error={write.error} />
        )}
      </div>
      <div className="mt-2 flex shrink-0 flex-wrap gap-2 lg:mt-0">
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

/** What came: mostly that shows the cause. */
function Payload({ base64 }: { base64: string }) {
  const { encoding, text, cut } = preview(base64);
  return (
    <p className="my-1 text-sm">
      <span className="text-ink-soft">{encoding === "hex" ? texts.payloadHex : texts.payload}:</span>{" "}
      {text === "" ? (
        texts.payloadEmpty
      ) : (
        <code className="rounded bg-sunken px-1 font-mono break-all whitespace-pre-wrap">
          {text}
          {cut && " …"}
        </code>
      )}
    </p>
  );
}
