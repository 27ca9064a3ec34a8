/** Messages, newest first, and a field to write one. On a phone what others wrote comes first: the field waits behind a
 * button, unless there is nothing to read or something is written already. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "react-router";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useMessages, useStatus } from "../../api/queries.ts";
import type { Message, MessageInput } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { Age } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { TextField } from "../../ui/field.tsx";
import { fieldErrors } from "../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../ui/form.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { useNodeName } from "../../ui/node-name.ts";
import { ErrorNotice } from "../../ui/notice.tsx";
import { describeSeenBy, SaveState } from "../../ui/save-state.tsx";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

export function MessagesPage() {
  const messages = useMessages();
  const [sent, setSent] = useState<string | null>(null);
  return (
    <div className="grid max-w-4xl grid-cols-[minmax(0,1fr)] gap-4">
      <h1>{texts.title}</h1>
      <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      <WriteMessage empty={messages.data?.length === 0} onSent={(message) => setSent(message.id)} />
      <SaveState saving={false} saved={messages.data?.find((each) => each.id === sent) ?? null} />
      <ListState query={messages} empty={texts.empty}>
        <ol aria-label={texts.title} className="grid gap-2">
          {messages.data?.map((message) => (
            <MessageRow key={message.id} message={message} />
          ))}
        </ol>
      </ListState>
    </div>
  );
}

function MessageRow({ message }: { message: Message }) {
  const { data: status } = useStatus();
  const nameOf = useNodeName();
  const node = message.node_name ?? nameOf(message.node);
  const sender = message.device === undefined ? (message.author ?? node) : texts.fromDevice(message.device);
  const heard = message.also_heard_by?.length ?? 0;
  return (
    <li className={`card p-3 sm:px-4 ${message.unapproved ? "stale border-warn" : ""}`}>
      <div className="flex flex-wrap items-start justify-between gap-2">
        <p className="text-sm">
          <span className="font-bold">{sender}</span> {message.to ? texts.toWhom(message.to) : texts.toAll} ·{" "}
          <Age at={message.received_at ?? message.created_at} />
        </p>
        {message.unapproved && <Tag tone="warn">{texts.unapproved}</Tag>}
      </div>
      <p className="max-w-prose whitespace-pre-wrap">{message.text}</p>
      {message.about?.kind === "incident" && (
        <Link className="link inline-flex min-h-10 items-center" to={`/incidents/${message.about.id}`}>
          {texts.about}
        </Link>
      )}
      <p className="text-sm text-ink-soft">
        {node}
        {message.sent_at !== undefined && (
          <>
            {" · "}
            {texts.sentAt} {new Date(message.sent_at).toLocaleString()}
          </>
        )}
        {heard > 0 && ` · ${texts.alsoHeard(heard)}`}
        {" · "}
        {message.unapproved ? texts.unapprovedHint : describeSeenBy(message.seen_by, status).text}
      </p>
    </li>
  );
}

interface MessageForm {
  text: string;
  to: string;
}

interface WriteMessageProps {
  /** There is nothing to read. */
  empty: boolean;
  onSent: (message: Message) => void;
}

function WriteMessage({ empty, onSent }: WriteMessageProps) {
  const [asked, setAsked] = useState(false);
  const [draft, setDraft] = useDraft<MessageForm>("message.new");
  const client = useQueryClient();
  const write = useWrite((input: MessageInput, key) => api.post<Message>(paths.messages(), input, key));
  const remote = fieldErrors(write.error);
  const { errors, setLocal, ref } = useFormErrors(remote);
  const form = draft ?? { text: "", to: "" };
  const open = asked || empty || draft !== null;
  useEffect(() => {
    if (asked) ref.current?.querySelector("textarea")?.focus();
  }, [asked, ref]);

  const submit = async () => {
    const [text, to] = [form.text.trim(), form.to.trim()];
    setLocal(text === "" ? { text: texts.textMissing } : {});
    if (text === "") return;
    const message = await write.run(to === "" ? { text } : { text, to });
    if (message === null) return;
    setDraft(null);
    setAsked(false);
    await client.invalidateQueries({ queryKey: keys.messages.all() });
    onSent(message);
  };

  return (
    <>
      {!open && (
        <button type="button" className="button button-primary sm:hidden" onClick={() => setAsked(true)}>
          {texts.formLabel}
        </button>
      )}
      <form
        ref={ref}
        noValidate
        aria-label={texts.formLabel}
        className={`card grid gap-2 p-3 sm:gap-3 sm:p-4 ${open ? "" : "max-sm:hidden"}`}
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        {write.error !== null && <ErrorNotice error={write.error} onRetry={() => void submit()} />}
        <UnshownErrors errors={remote} shown={["text", "to"]} />
        <TextField
          label={texts.text}
          rows={2}
          value={form.text}
          onChange={(text) => setDraft({ ...form, text })}
          error={errors.text}
        />
        <TextField
          label={texts.to}
          hint={texts.toHint}
          optional
          value={form.to}
          onChange={(to) => setDraft({ ...form, to })}
          error={errors.to}
        />
        <FormActions submit={texts.send} saving={write.saving} />
      </form>
    </>
  );
}
