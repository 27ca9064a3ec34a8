/** Which decoder reads which topic: those of the configuration as they are, those that were added here to change. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useDecoders } from "../../api/queries.ts";
import type { Decoder } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { Tag } from "../../ui/badges.tsx";
import { Confirm } from "../../ui/confirm.tsx";
import { TextField } from "../../ui/field.tsx";
import { fieldErrors } from "../../ui/field-errors.ts";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { common } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { addedEntries, type Entry, entryText, parseEntry, TEMPLATES, withEntry, withoutEntry } from "./entries.ts";
import { texts } from "./texts.ts";

interface EntryDraft {
  /** Place among those that were added here; null for a new one. */
  at: number | null;
  text: string;
}

export function Decoders() {
  const decoders = useDecoders();
  const [draft, setDraft] = useDraft<EntryDraft>("decoder");
  const client = useQueryClient();
  const write = useWrite((items: Entry[]) => api.put<unknown>(paths.decoders(), { items }));
  const entries = addedEntries(decoders.data ?? []);

  const put = async (items: Entry[]): Promise<boolean> => {
    if ((await write.run(items)) === null) return false;
    await client.invalidateQueries({ queryKey: keys.decoders.all() });
    return true;
  };
  const edit = (next: EntryDraft) => {
    write.reset();
    setDraft(next);
  };

  let added = -1;
  return (
    <section aria-labelledby="decoders" className="card grid grid-cols-[minmax(0,1fr)] gap-3 p-4">
      <div>
        <h2 id="decoders">{texts.decoders}</h2>
        <p className="max-w-prose text-sm text-ink-soft">{texts.decodersLead}</p>
      </div>
      <ListState query={decoders} empty="">
        <ol aria-label={texts.decoders} className="grid gap-2">
          {decoders.data?.map((decoder) => {
            if (decoder.origin === "api") added += 1;
            const at = added;
            return (
              <DecoderRow
                key={`${decoder.origin} ${at} ${decoder.version} ${decoder.topic}`}
                decoder={decoder}
                busy={write.saving}
                onEdit={() => edit({ at, text: entryText(decoder.entry ?? {}) })}
                onRemove={() => void put(withoutEntry(entries, at))}
              />
            );
          })}
        </ol>
      </ListState>
      {draft === null ? (
        <>
          {write.error !== null && <ErrorNotice error={write.error} />}
          <button
            type="button"
            className="button justify-self-start max-sm:w-full"
            onClick={() => edit({ at: null, text: entryText(TEMPLATES[0]?.entry ?? {}) })}
          >
            {texts.addDecoder}
          </button>
        </>
      ) : (
        <EntryForm
          draft={draft}
          onText={(text) => setDraft({ ...draft, text })}
          saving={write.saving}
          error={write.error}
          onCancel={() => {
            write.reset();
            setDraft(null);
          }}
          onSubmit={async (entry) => {
            if (await put(withEntry(entries, draft.at, entry))) setDraft(null);
          }}
          // Errors name a place in the list that was sent.
          place={draft.at ?? entries.length}
        />
      )}
      <p aria-live="polite" className="font-semibold text-ok empty:hidden">
        {draft === null && write.state.phase === "saved" && texts.decodersSaved}
      </p>
    </section>
  );
}

interface DecoderRowProps {
  decoder: Decoder;
  busy: boolean;
  onEdit: () => void;
  onRemove: () => void;
}

function DecoderRow({ decoder, busy, onEdit, onRemove }: DecoderRowProps) {
  const format = typeof decoder.entry?.format === "string" ? decoder.entry.format : texts.ownFormat;
  return (
    <li className="rounded-lg border border-line p-3">
      <div className="flex flex-wrap items-start justify-between gap-2">
        <p className="font-mono font-bold">{decoder.topic}</p>
        <Tag tone={decoder.origin === "api" ? "accent" : "plain"}>{texts.origin[decoder.origin] ?? decoder.origin}</Tag>
      </div>
      <p>
        {format}
        {decoder.name !== format && <span className="text-ink-soft"> · {decoder.name}</span>}
      </p>
      {decoder.entry && (
        <details>
          <summary className="cursor-pointer py-2 text-sm font-semibold">{texts.showEntry(decoder.topic)}</summary>
          <pre className="overflow-x-auto rounded-lg bg-sunken p-3 font-mono text-sm">{entryText(decoder.entry)}</pre>
        </details>
      )}
      {decoder.origin === "api" && (
        <div className="mt-2 flex flex-wrap gap-2">
          <button type="button" className="button" aria-label={texts.editOf(decoder.topic)} onClick={onEdit}>
            {texts.edit}
          </button>
          <Confirm
            name={texts.removeOf(decoder.topic)}
            danger={false}
            busy={busy}
            question={texts.removeAsk(decoder.topic)}
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
  onText: (text: string) => void;
  saving: boolean;
  error: unknown;
  place: number;
  onSubmit: (entry: Entry) => void;
  onCancel: () => void;
}

function EntryForm({ draft, onText, saving, error, place, onSubmit, onCancel }: EntryFormProps) {
  const [localError, setLocalError] = useState<string | undefined>();
  const remote = fieldErrors(error);
  // What stands deeper in the entry belongs to the same field.
  const atEntry = Object.entries(remote).find(
    ([key]) => key === `items.${place}` || key.startsWith(`items.${place}.`),
  )?.[1];
  const submit = () => {
    const parsed = parseEntry(draft.text);
    setLocalError("error" in parsed ? texts.notJson(parsed.error) : undefined);
    if ("entry" in parsed) onSubmit(parsed.entry);
  };
  return (
    <form
      noValidate
      aria-label={draft.at === null ? texts.addDecoder : texts.editDecoder}
      className="grid grid-cols-[minmax(0,1fr)] gap-3 rounded-lg bg-sunken p-3"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {draft.at === null && (
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
        error={localError ?? atEntry}
      />
      {error !== null && atEntry === undefined && <ErrorNotice error={error} />}
      {Object.entries(remote)
        .filter(([key]) => key.startsWith("items.") && !key.startsWith(`items.${place}`))
        .map(([key, detail]) => (
          <Notice key={key} tone="bad" title={detail} />
        ))}
      <div className="flex flex-wrap items-center gap-3">
        <button type="submit" className="button button-primary max-sm:w-full" aria-disabled={saving}>
          {texts.save}
        </button>
        <button type="button" className="button max-sm:w-full" onClick={onCancel}>
          {common.cancel}
        </button>
        <p aria-live="polite" className="font-semibold">
          {saving && common.saving}
        </p>
      </div>
    </form>
  );
}
