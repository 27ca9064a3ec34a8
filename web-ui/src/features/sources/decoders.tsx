/** Which decoder reads which topic: those of the configuration as they are, those that were added here to change. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { ApiError, api, UnreachableError } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useDecoders } from "../../api/queries.ts";
import type { Decoder, DecoderPage } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { without } from "../../lib/list.ts";
import { Tag } from "../../ui/badges.tsx";
import { Confirm } from "../../ui/confirm.tsx";
import { TextField } from "../../ui/field.tsx";
import { fieldErrors } from "../../ui/field-errors.ts";
import { FormActions } from "../../ui/form.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { useWrite, type Write } from "../../ui/use-write.ts";
import {
  addedDecoders,
  addedEntries,
  type Entry,
  type EntryDraft,
  entryText,
  parseEntry,
  placeOf,
  TEMPLATES,
  withEntry,
} from "./entries.ts";
import { texts } from "./texts.ts";

interface Change {
  /** Of the list that `items` was made from. */
  version: string;
  items: Entry[];
}

/** What was sent last: for the errors that come back, and to send it again. */
interface Sent {
  /** null: a removal. */
  draft: EntryDraft | null;
  /** In the list that was sent: errors name it. */
  place: number;
  change: Change;
}

export function Decoders() {
  const decoders = useDecoders();
  const write = useWrite(({ version, items }: Change) => api.put<DecoderPage>(paths.decoders(), version, { items }));
  const [draft, setDraft] = useDraft<EntryDraft>("decoder.entry");
  return (
    <section aria-labelledby="decoders" className="card grid grid-cols-[minmax(0,1fr)] gap-3 p-4">
      <div>
        <h2 id="decoders">{texts.decoders}</h2>
        <p className="max-w-prose text-sm text-ink-soft">{texts.decodersLead}</p>
      </div>
      <ListState query={{ ...decoders, data: decoders.data?.items }} empty="">
        {decoders.data && <DecoderList page={decoders.data} write={write} draft={draft} setDraft={setDraft} />}
      </ListState>
      <p aria-live="polite" className="font-semibold text-ok empty:hidden">
        {draft === null && write.state.phase === "saved" && texts.decodersSaved}
      </p>
    </section>
  );
}

interface DecoderListProps {
  page: DecoderPage;
  write: Write<Change, DecoderPage>;
  draft: EntryDraft | null;
  setDraft: (draft: EntryDraft | null) => void;
}

/** The node takes the whole list at once: without the one that is there, what is sent would remove it. */
function DecoderList({ page, write, draft, setDraft }: DecoderListProps) {
  const client = useQueryClient();
  const stored = page.items.filter((decoder) => decoder.origin === "api");
  const added: Decoder[] = addedDecoders(page.items);
  const entries = addedEntries(page.items);
  const place = draft?.seen ? placeOf(entries, draft.seen) : null;
  const [sent, setSent] = useState<Sent | null>(null);
  // Counts how often a form was asked for; 0: what is open was left open before the page was loaded.
  const [asked, setAsked] = useState(0);

  const put = async (next: Sent): Promise<boolean> => {
    setSent(next);
    const answer = await write.run(next.change);
    if (answer !== null) client.setQueryData(keys.decoders.all(), answer);
    // Where it was refused, what is there now is what the person needs to see.
    void client.invalidateQueries({ queryKey: keys.decoders.all() });
    return answer !== null;
  };
  const save = async (entry: Entry) => {
    // Nobody knows whether it was stored: the very same once more is answered the same.
    const again = write.error instanceof UnreachableError && sent?.draft === draft ? sent : null;
    const change = { version: page.version, items: withEntry(entries, place, entry) };
    if (await put(again ?? { draft, place: place ?? entries.length, change })) setDraft(null);
  };
  const remove = (at: number) =>
    put({ draft: null, place: at, change: { version: page.version, items: without(entries, at) } });
  const edit = (next: EntryDraft | null) => {
    write.reset();
    setDraft(next);
    setAsked(asked + 1);
  };

  return (
    <>
      <ol aria-label={texts.decoders} className="grid gap-2">
        {page.items.map((decoder) => {
          const at = added.indexOf(decoder);
          const text = entryText(decoder.entry ?? {});
          return (
            <DecoderRow
              key={`${decoder.origin} ${stored.indexOf(decoder)} ${decoder.version} ${decoder.topic}`}
              decoder={decoder}
              busy={write.saving}
              onEdit={() => edit({ seen: { at, text }, text })}
              // What is no entry is in no list that is sent: the others as they are remove it.
              onRemove={() => void remove(at)}
            />
          );
        })}
      </ol>
      {draft === null ? (
        <>
          {write.error !== null && <ErrorNotice error={write.error} />}
          <button
            type="button"
            className="button justify-self-start max-sm:w-full"
            onClick={() => edit({ seen: null, text: entryText(TEMPLATES[0]?.entry ?? {}) })}
          >
            {texts.addDecoder}
          </button>
        </>
      ) : (
        <EntryForm
          key={asked}
          focused={asked > 0}
          draft={draft}
          gone={draft.seen !== null && place === null && !(write.error instanceof UnreachableError)}
          onText={(text) => setDraft({ ...draft, text })}
          saving={write.saving}
          error={write.error}
          onCancel={() => edit(null)}
          onSubmit={save}
          place={sent?.place ?? 0}
        />
      )}
    </>
  );
}

interface DecoderRowProps {
  decoder: Decoder;
  busy: boolean;
  onEdit: () => void;
  onRemove: () => void;
}

function DecoderRow({ decoder, busy, onEdit, onRemove }: DecoderRowProps) {
  const isAdded = decoder.origin === "api";
  const noEntry = isAdded && decoder.entry === null;
  const format = typeof decoder.entry?.format === "string" ? decoder.entry.format : texts.ownFormat;
  return (
    <li className="rounded-lg border border-line p-3">
      <div className="flex flex-wrap items-start justify-between gap-2">
        <p className={noEntry ? "font-bold" : "font-mono font-bold"}>{noEntry ? texts.noEntry : decoder.topic}</p>
        <Tag tone={isAdded ? "accent" : "plain"}>{texts.origin[decoder.origin] ?? decoder.origin}</Tag>
      </div>
      <p>
        {noEntry ? texts.noEntryNext : format}
        {!noEntry && decoder.name !== format && <span className="text-ink-soft"> · {decoder.name}</span>}
      </p>
      {decoder.problem !== null && <p className="font-semibold text-warn">{texts.notInUse(decoder.problem)}</p>}
      {decoder.entry && (
        <details>
          <summary className="cursor-pointer py-2 text-sm font-semibold">{texts.showEntry(decoder.topic)}</summary>
          <pre className="overflow-x-auto rounded-lg bg-sunken p-3 font-mono text-sm">{entryText(decoder.entry)}</pre>
        </details>
      )}
      {isAdded && (
        <div className="mt-2 flex flex-wrap gap-2">
          {!noEntry && (
            <button type="button" className="button" aria-label={texts.editOf(decoder.topic)} onClick={onEdit}>
              {texts.edit}
            </button>
          )}
          <Confirm
            name={noEntry ? texts.removeNoEntry : texts.removeOf(decoder.topic)}
            danger={false}
            busy={busy}
            question={noEntry ? texts.removeNoEntryAsk : texts.removeAsk(decoder.topic)}
            confirm={texts.removeConfirm}
            onConfirm={onRemove}
          >
            {texts.remove}
          </Confirm>
        </div>
      )}
    </li>
  );
}

interface EntryFormProps {
  draft: EntryDraft;
  /** Somebody asked for it just now: it stands below the list, where nobody would see that it opened. */
  focused: boolean;
  /** What it would take the place of is not there any more. */
  gone: boolean;
  onText: (text: string) => void;
  saving: boolean;
  error: unknown;
  place: number;
  onSubmit: (entry: Entry) => void;
  onCancel: () => void;
}

/** Somebody else changed the list first. */
const isStale = (error: unknown): boolean => error instanceof ApiError && error.status === 412;

function EntryForm({ draft, focused, gone, onText, saving, error, place, onSubmit, onCancel }: EntryFormProps) {
  const remote = fieldErrors(error);
  // What stands deeper in the entry belongs to the same field.
  const atEntry = Object.entries(remote).find(
    ([key]) => key === `items.${place}` || key.startsWith(`items.${place}.`),
  )?.[1];
  const { errors, setLocal, ref } = useFormErrors(atEntry === undefined ? {} : { entry: atEntry });
  useEffect(() => {
    if (focused) ref.current?.querySelector("textarea")?.focus();
  }, [focused, ref]);
  const submit = () => {
    const parsed = parseEntry(draft.text);
    setLocal("error" in parsed ? { entry: texts.notJson(parsed.error) } : {});
    if ("entry" in parsed) onSubmit(parsed.entry);
  };
  return (
    <form
      ref={ref}
      noValidate
      aria-label={draft.seen === null ? texts.addDecoder : texts.editDecoder}
      className="grid grid-cols-[minmax(0,1fr)] gap-3 rounded-lg bg-sunken p-3"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {draft.seen === null && (
        <div>
          <p className="mb-2 font-semibold">{texts.templates}</p>
          <div className="flex flex-wrap gap-2">
            {TEMPLATES.map((template) => (
              <button
                key={template.label}
                type="button"
                className="button"
                onClick={() => onText(entryText(template.entry))}
              >
                {template.label}
              </button>
            ))}
          </div>
        </div>
      )}
      <TextField
        label={texts.entry}
        hint={texts.entryHint}
        code
        rows={12}
        value={draft.text}
        onChange={onText}
        error={errors.entry}
      />
      {gone && (
        <Notice tone="warn" role="alert" title={texts.entryGone}>
          <p>{texts.entryGoneNext}</p>
        </Notice>
      )}
      {error !== null && atEntry === undefined && !(gone && isStale(error)) && <ErrorNotice error={error} />}
      {Object.entries(remote)
        .filter(([key]) => key.startsWith("items.") && !key.startsWith(`items.${place}`))
        .map(([key, detail]) => (
          <Notice key={key} tone="bad" title={detail} />
        ))}
      <FormActions submit={gone ? texts.saveAsNew : texts.save} saving={saving} onCancel={onCancel} />
    </form>
  );
}
