/** Rules: what opens incidents by itself, each in a sentence, and switching it on and off. */
import { Link } from "react-router";
import { useRules, useSeries } from "../../api/queries.ts";
import type { Rule, Series } from "../../api/types.ts";
import { lastChange, Provenance } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { ListState } from "../../ui/list-state.tsx";
import { common } from "../../ui/texts.ts";
import { unitOf } from "./matching.ts";
import { RuleSwitch } from "./rule-switch.tsx";
import { notes, sentence } from "./sentence.ts";
import { texts } from "./texts.ts";

export function RulesPage() {
  const rules = useRules();
  const series = useSeries();
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1>{texts.title}</h1>
        <Link to="/rules/new" className="button button-primary max-sm:w-full">
          {texts.add}
        </Link>
      </div>
      <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      <ListState query={rules} empty={texts.empty}>
        <ul aria-label={texts.title} className="grid gap-2">
          {rules.data?.map((rule) => (
            <RuleRow key={rule.id} rule={rule} series={series.data} />
          ))}
        </ul>
      </ListState>
    </div>
  );
}

function RuleRow({ rule, series }: { rule: Rule; series: readonly Series[] | undefined }) {
  const conflict = rule.conflicts[0];
  const more = notes(rule).length;
  return (
    <li className={`card p-3 sm:p-4 ${rule.enabled ? "" : "bg-sunken"}`}>
      <div className="flex flex-wrap items-start justify-between gap-2">
        <h2 className="min-w-0">
          <Link className="link" to={`/rules/${rule.id}`}>
            {rule.name}
          </Link>
        </h2>
        <span className="flex gap-2">
          {conflict && (
            <Link to={`/conflicts/${conflict.conflict}`}>
              <Tag tone="bad">{texts.conflict}</Tag>
            </Link>
          )}
          <Tag tone={rule.enabled ? "ok" : "plain"}>{rule.enabled ? texts.on : texts.off}</Tag>
        </span>
      </div>
      <p className="max-w-prose">{sentence(rule, unitOf(rule.match, series))}</p>
      <p className="text-sm text-ink-soft">
        {more > 0 && `${texts.more(more)} · `}
        {texts.updated}: <Provenance {...lastChange(rule)} unsigned={common.commandLine} />
      </p>
      <div className="mt-2">
        <RuleSwitch rule={rule} />
      </div>
    </li>
  );
}
