/** Rules: what opens incidents by itself, and switching it on and off. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useRules } from "../../api/queries.ts";
import type { Rule } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { lastChange, Provenance } from "../../ui/age.tsx";
import { Severity, Tag } from "../../ui/badges.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { SaveState } from "../../ui/save-state.tsx";
import { useWrite } from "../../ui/use-write.ts";
import { AddRule } from "./add-rule.tsx";
import { emptyRule, type RuleForm } from "./form.ts";
import { texts } from "./texts.ts";

export function RulesPage() {
  const rules = useRules();
  const [draft, setDraft] = useDraft<RuleForm>("rule.new");
  const [added, setAdded] = useState<string | null>(null);
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1>{texts.title}</h1>
        {draft === null && (
          <button type="button" className="button button-primary max-sm:w-full" onClick={() => setDraft(emptyRule)}>
            {texts.add}
          </button>
        )}
      </div>
      <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      <SaveState saving={false} saved={rules.data?.find((rule) => rule.id === added) ?? null} />
      {draft !== null && (
        <AddRule
          form={draft}
          onForm={setDraft}
          onAdded={(rule) => {
            setDraft(null);
            setAdded(rule.id);
          }}
        />
      )}
      <ListState query={rules} empty={texts.empty}>
        <ul aria-label={texts.title} className="grid gap-2">
          {rules.data?.map((rule) => (
            <RuleRow key={rule.id} rule={rule} />
          ))}
        </ul>
      </ListState>
    </div>
  );
}

function condition(rule: Rule): string {
  const parts = [rule.match === null ? texts.noMatch : `${rule.match.device} · ${rule.match.channel}`];
  const measure = measured(rule);
  if (measure === null) return texts.unknownKind(rule.kind);
  if (measure !== "") parts.push(measure);
  if (rule.raise_above !== null && rule.clear_below !== null)
    parts.push(texts.raiseAbove(rule.raise_above, rule.clear_below));
  if (rule.raise_below !== null && rule.clear_above !== null)
    parts.push(texts.raiseBelow(rule.raise_below, rule.clear_above));
  if (rule.for_s) parts.push(texts.forText(rule.for_s));
  if (rule.hold_s) parts.push(texts.holdText(rule.hold_s));
  return parts.join(" · ");
}

/** What the levels look at: nothing to say for the value itself, null for a kind of a newer node. */
function measured(rule: Rule): string | null {
  switch (rule.kind) {
    case "threshold":
      return "";
    case "rate":
      return texts.rate(rule.window_s ?? 0);
    case "no_data":
      return texts.noData(rule.after_s ?? 0);
    case "deviation":
      return texts.deviation(rule.window_s ?? 0);
    case "sta_lta":
      return texts.staLta(rule.sta_s ?? 0, rule.lta_s ?? 0);
    case "expression":
      return texts.expression(rule.expression?.formula ?? "");
    default:
      return null;
  }
}

function RuleRow({ rule }: { rule: Rule }) {
  const client = useQueryClient();
  const write = useWrite(({ version, enabled }: { version: string; enabled: boolean }) =>
    api.patch<Rule>(paths.rule(rule.id), version, { enabled }),
  );
  const toggle = async () => {
    if ((await write.run({ version: rule.version, enabled: !rule.enabled })) === null) return;
    await client.invalidateQueries({ queryKey: keys.rules.all() });
  };
  return (
    <li className="card p-3 sm:p-4">
      <div className="flex flex-wrap items-start justify-between gap-2">
        <h2>{rule.name}</h2>
        <Tag tone={rule.enabled ? "ok" : "plain"}>{rule.enabled ? texts.on : texts.off}</Tag>
      </div>
      <p>{condition(rule)}</p>
      <p className="flex flex-wrap gap-x-3">
        <span>
          {texts.opens} “{rule.incident?.title ?? rule.name}”
        </span>
        {rule.incident?.severity && <Severity value={rule.incident.severity} />}
      </p>
      <p className="text-sm text-ink-soft">
        {texts.updated}: <Provenance {...lastChange(rule)} />
      </p>
      {write.error !== null && <ErrorNotice error={write.error} onRetry={() => void toggle()} />}
      <div className="mt-2 flex flex-wrap items-center gap-3">
        <button
          type="button"
          className="button"
          aria-label={rule.enabled ? texts.switchOff(rule.name) : texts.switchOn(rule.name)}
          aria-disabled={write.saving}
          onClick={() => void toggle()}
        >
          {rule.enabled ? texts.switchOffShort : texts.switchOnShort}
        </button>
        {write.state.phase !== "idle" && (
          <SaveState saving={write.saving} saved={write.state.phase === "saved" ? rule : null} />
        )}
      </div>
    </li>
  );
}
