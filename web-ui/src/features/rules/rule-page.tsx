/** One rule: what it does in words, whether it would have fired, its edits, and bringing it back after it was deleted. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation, useParams } from "react-router";
import { ApiError, api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useRule, useRuleHistory, useSeries } from "../../api/queries.ts";
import type { Rule } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { lastChange, Provenance } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { Confirm } from "../../ui/confirm.tsx";
import { History } from "../../ui/history.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { SaveState } from "../../ui/save-state.tsx";
import { SeenBySection } from "../../ui/seen-by.tsx";
import { common } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { ConflictCard } from "../conflicts/conflict-card.tsx";
import { EditRule, type RuleDraft, startEdit } from "./edit-rule.tsx";
import { canonical, isKnownKind } from "./form.ts";
import { unitOf } from "./matching.ts";
import { RuleNow } from "./rule-now.tsx";
import { RuleSwitch } from "./rule-switch.tsx";
import { notes, sentence } from "./sentence.ts";
import { TestRunSection, useTestRun } from "./test-run.tsx";
import { texts } from "./texts.ts";

export function RulePage() {
  const { id = "" } = useParams();
  const rule = useRule(id);
  const failed = rule.error instanceof ApiError ? rule.error.status : null;
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <Link className="link inline-flex min-h-10 items-center justify-self-start" to="/rules">
        ← {texts.back}
      </Link>
      {failed === 410 ? (
        <Deleted id={id} />
      ) : rule.error && (rule.data === undefined || failed === 404) ? (
        <ErrorNotice error={rule.error} onRetry={() => void rule.refetch()} />
      ) : rule.data === undefined ? (
        <p role="status">{common.loading}</p>
      ) : (
        <RuleDetail key={id} rule={rule.data} />
      )}
    </div>
  );
}

function RuleDetail({ rule }: { rule: Rule }) {
  const [draft, setDraft] = useDraft<RuleDraft>(`rule.${rule.id}`);
  const [restored, setRestored] = useState(draft !== null);
  const arrived = useLocation().state as { saved?: boolean } | null;
  const [saved, setSaved] = useState(arrived?.saved === true);
  const history = useRuleHistory(rule.id);
  return (
    <article className="grid grid-cols-[minmax(0,1fr)] gap-4 xl:grid-cols-[minmax(0,1fr)_24rem] xl:items-start">
      <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
        <header className="card grid gap-2 p-4">
          <div className="flex flex-wrap items-start justify-between gap-3">
            <h1 className="min-w-0 flex-1 basis-60">{rule.name}</h1>
            <Tag tone={rule.enabled ? "ok" : "plain"}>{rule.enabled ? texts.on : texts.off}</Tag>
          </div>
          <RuleWords rule={rule} />
          <p className="text-sm text-ink-soft">
            {texts.updated}: <Provenance {...lastChange(rule)} unsigned={common.commandLine} />
          </p>
          {saved && draft === null && <SaveState saving={false} saved={rule} />}
          {draft === null && (
            <div className="flex flex-wrap items-start gap-3">
              {isKnownKind(rule.kind) && (
                <button
                  type="button"
                  className="button"
                  onClick={() => {
                    setRestored(false);
                    setDraft(startEdit(rule));
                  }}
                >
                  {texts.edit}
                </button>
              )}
              <RuleSwitch rule={rule} />
              <DeleteRule rule={rule} />
            </div>
          )}
        </header>
        {rule.conflicts.map(({ conflict }) => (
          <ConflictCard key={conflict} id={conflict} />
        ))}
        {isKnownKind(rule.kind) && <RuleNow rule={rule} />}
        {draft === null ? (
          <TestStored rule={rule} />
        ) : (
          <EditRule
            rule={rule}
            draft={draft}
            restored={restored}
            onDraft={setDraft}
            onSaved={() => {
              setDraft(null);
              setSaved(true);
            }}
          />
        )}
        <History query={history} unsigned={common.commandLine} />
      </div>
      <SeenBySection seenBy={rule.seen_by} />
    </article>
  );
}

function RuleWords({ rule }: { rule: Rule }) {
  const series = useSeries();
  const lines = notes(rule);
  return (
    <>
      <p className="max-w-prose text-lg">{sentence(rule, unitOf(rule.match, series.data))}</p>
      {lines.length > 0 && (
        <ul className="max-w-prose list-disc pl-6">
          {lines.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
      )}
    </>
  );
}

/** A rule that nobody could have written cannot be tested either: its sentence says so. */
function TestStored({ rule }: { rule: Rule }) {
  const test = useTestRun();
  const input = isKnownKind(rule.kind) ? canonical(rule) : null;
  if (input === null) return null;
  return (
    <div className="card p-4">
      <TestRunSection test={test} onRun={() => void test.run(input)} />
    </div>
  );
}

function DeleteRule({ rule }: { rule: Rule }) {
  const client = useQueryClient();
  const write = useWrite(async () => {
    await api.delete(paths.rule(rule.id));
    return true;
  });
  const remove = async () => {
    if ((await write.run(null)) !== null) await client.invalidateQueries({ queryKey: keys.rules.all() });
  };
  return (
    <>
      <Confirm
        busy={write.saving}
        question={texts.removeAsk(rule.name)}
        hint={texts.removeHint}
        confirm={texts.removeConfirm}
        onConfirm={() => void remove()}
      >
        {texts.remove}
      </Confirm>
      {write.error !== null && <ErrorNotice error={write.error} onRetry={() => void remove()} />}
    </>
  );
}

function Deleted({ id }: { id: string }) {
  const client = useQueryClient();
  const write = useWrite((rule: string, key) => api.post<Rule>(paths.ruleRestore(rule), {}, key));
  const restore = async () => {
    const rule = await write.run(id);
    if (rule === null) return;
    client.setQueryData(keys.rules.one(id), rule);
    await client.invalidateQueries({ queryKey: keys.rules.all() });
  };
  return (
    <>
      <Notice tone="info" role="status" title={texts.removed}>
        <button type="button" className="button mt-3" aria-disabled={write.saving} onClick={() => void restore()}>
          {texts.restore}
        </button>
      </Notice>
      {write.error !== null && <ErrorNotice error={write.error} />}
    </>
  );
}
