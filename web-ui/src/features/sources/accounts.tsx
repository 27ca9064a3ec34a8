/** Who signs in over MQTT for many devices: gateways and programs, with what each may publish and subscribe to. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useMqttAccounts } from "../../api/queries.ts";
import type { MqttAccount, MqttAccountCredentials } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { Age } from "../../ui/age.tsx";
import { Confirm } from "../../ui/confirm.tsx";
import { TextField } from "../../ui/field.tsx";
import { type FieldErrors, fieldErrors } from "../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../ui/form.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { PasswordOnce } from "../../ui/password-once.tsx";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

interface NewAccount {
  name: string;
  publish: string[];
  subscribe: string[];
}

type Wish = { add: NewAccount } | { renew: string } | { remove: string };

/** What became of a wish. */
type Done = { made: MqttAccountCredentials } | { removed: string };

async function carryOut(wish: Wish): Promise<Done> {
  if ("add" in wish) return { made: await api.post<MqttAccountCredentials>(paths.mqttAccounts(), wish.add) };
  if ("renew" in wish)
    return { made: await api.post<MqttAccountCredentials>(paths.mqttAccountPassword(wish.renew), {}) };
  await api.delete(paths.mqttAccount(wish.remove));
  return { removed: wish.remove };
}

interface AccountForm {
  name: string;
  /** One filter on each line. */
  publish: string;
  subscribe: string;
}

const emptyForm: AccountForm = { name: "", publish: "", subscribe: "" };
const FIELDS = ["name", "publish", "subscribe"] as const;

const linesOf = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");

export function Accounts() {
  const client = useQueryClient();
  const accounts = useMqttAccounts();
  const write = useWrite(carryOut);
  const [draft, setDraft] = useDraft<AccountForm>("mqtt.account");
  const [made, setMade] = useState<MqttAccountCredentials[]>([]);
  /** A password is good until there is another one for the account, or the account is gone. */
  const drop = (name: string) => setMade((before) => before.filter(({ username }) => username !== name));
  const run = async (wish: Wish) => {
    const done = await write.run(wish);
    // Also where it failed: somebody else may have been quicker.
    void client.invalidateQueries({ queryKey: keys.mqttAccounts.all() });
    if (done === null) return;
    if ("removed" in done) {
      drop(done.removed);
      return;
    }
    drop(done.made.username);
    setMade((before) => [...before, done.made]);
    if ("add" in wish) setDraft(null);
  };
  const done = write.state.phase === "saved" ? write.state.answer : null;
  return (
    <section aria-labelledby="accounts" className="card grid grid-cols-[minmax(0,1fr)] gap-3 p-4">
      <div>
        <h2 id="accounts">{texts.accounts}</h2>
        <p className="max-w-prose text-sm text-ink-soft">{texts.accountsLead}</p>
      </div>
      <ListState query={accounts} empty={texts.accountsNone}>
        <ul aria-label={texts.accounts} className="grid gap-2">
          {accounts.data?.map((account) => (
            <AccountRow
              key={account.name}
              account={account}
              busy={write.saving}
              onRenew={() => void run({ renew: account.name })}
              onRemove={() => void run({ remove: account.name })}
            />
          ))}
        </ul>
      </ListState>
      <div aria-live="polite" className="empty:hidden">
        {/* The node keeps no copy: whatever else is done, each stays until somebody says that they have it. */}
        {made.map((credentials) => (
          <PasswordOnce
            key={credentials.username}
            credentials={credentials}
            onNoted={() => drop(credentials.username)}
          />
        ))}
        {done !== null && "removed" in done && (
          <p className="font-semibold text-ok">{texts.accountRemoved(done.removed)}</p>
        )}
      </div>
      {draft === null ? (
        <>
          {write.error !== null && <ErrorNotice error={write.error} />}
          <button
            type="button"
            className="button justify-self-start max-sm:w-full"
            onClick={() => {
              write.reset();
              setDraft(emptyForm);
            }}
          >
            {texts.addAccount}
          </button>
        </>
      ) : (
        <AccountFields
          form={draft}
          onForm={setDraft}
          saving={write.saving}
          error={write.error}
          onSubmit={(account) => void run({ add: account })}
          onCancel={() => {
            if (write.error !== null) write.reset();
            setDraft(null);
          }}
        />
      )}
    </section>
  );
}

interface AccountRowProps {
  account: MqttAccount;
  busy: boolean;
  onRenew: () => void;
  onRemove: () => void;
}

function AccountRow({ account, busy, onRenew, onRemove }: AccountRowProps) {
  const filters = (list: string[]) => (list.length === 0 ? texts.noFilters : list.join(" "));
  return (
    <li className="rounded-lg border border-line p-3">
      <h3>{account.name}</h3>
      <dl className="grid gap-x-4 text-sm sm:grid-cols-[8rem_minmax(0,1fr)]">
        <dt className="text-ink-soft">{texts.publishes}</dt>
        <dd className="font-mono break-words">{filters(account.publish)}</dd>
        <dt className="text-ink-soft">{texts.subscribes}</dt>
        <dd className="font-mono break-words">{filters(account.subscribe)}</dd>
        <dt className="text-ink-soft">{texts.made}</dt>
        <dd>
          <Age at={account.created_at} />
        </dd>
      </dl>
      <div className="mt-2 flex flex-wrap gap-2">
        <Confirm
          name={texts.newPasswordOf(account.name)}
          danger={false}
          busy={busy}
          question={texts.newPasswordAsk(account.name)}
          confirm={texts.newPasswordConfirm}
          onConfirm={onRenew}
        >
          {texts.newPassword}
        </Confirm>
        <Confirm
          name={texts.removeAccountOf(account.name)}
          danger={false}
          busy={busy}
          question={texts.removeAccountAsk(account.name)}
          confirm={texts.removeConfirm}
          onConfirm={onRemove}
        >
          {texts.remove}
        </Confirm>
      </div>
    </li>
  );
}

interface AccountFieldsProps {
  form: AccountForm;
  onForm: (form: AccountForm) => void;
  saving: boolean;
  error: unknown;
  onSubmit: (account: NewAccount) => void;
  onCancel: () => void;
}

function AccountFields({ form, onForm, saving, error, onSubmit, onCancel }: AccountFieldsProps) {
  const remote = fieldErrors(error);
  const { errors, setLocal, ref } = useFormErrors(remote);
  const submit = () => {
    const account = { name: form.name.trim(), publish: linesOf(form.publish), subscribe: linesOf(form.subscribe) };
    const found: FieldErrors = {};
    if (account.name === "") found.name = texts.accountNameMissing;
    // The node would take it: an account that may do nothing.
    if (account.publish.length + account.subscribe.length === 0) found.publish = texts.accountFiltersMissing;
    setLocal(found);
    if (Object.keys(found).length === 0) onSubmit(account);
  };
  return (
    <form
      ref={ref}
      noValidate
      aria-label={texts.addAccount}
      className="grid grid-cols-[minmax(0,1fr)] gap-3 rounded-lg bg-sunken p-3"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <TextField
        label={texts.accountName}
        autoComplete="off"
        value={form.name}
        onChange={(name) => onForm({ ...form, name })}
        error={errors.name}
      />
      <TextField
        label={texts.accountPublish}
        hint={texts.accountPublishHint}
        code
        rows={2}
        value={form.publish}
        onChange={(publish) => onForm({ ...form, publish })}
        error={errors.publish}
      />
      <TextField
        label={texts.accountSubscribe}
        hint={texts.accountSubscribeHint}
        code
        rows={2}
        value={form.subscribe}
        onChange={(subscribe) => onForm({ ...form, subscribe })}
        error={errors.subscribe}
      />
      <UnshownErrors errors={remote} shown={FIELDS} />
      {error !== null && Object.keys(remote).length === 0 && <ErrorNotice error={error} onRetry={submit} />}
      <FormActions submit={texts.accountSave} saving={saving} onCancel={onCancel} />
    </form>
  );
}
