/** What a rule sees now, of each channel or device that it looks at: also before it raises anything. */
import { Link } from "react-router";
import { useRuleState } from "../../api/queries.ts";
import type { Rule, RuleSeen } from "../../api/types.ts";
import { Age } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { common } from "../../ui/texts.ts";
import { numberText, unitText } from "../../ui/value.tsx";
import { texts } from "./texts.ts";

export function RuleNow({ rule }: { rule: Rule }) {
  const seen = useRuleState(rule.id);
  return (
    <section aria-labelledby="rule-now" className="card grid gap-3 p-4">
      <h2 id="rule-now">{texts.now}</h2>
      {seen.error !== null && <ErrorNotice error={seen.error} onRetry={() => void seen.refetch()} />}
      {seen.data === undefined ? (
        seen.error === null && <p role="status">{common.loading}</p>
      ) : seen.data.length === 0 ? (
        <p>{rule.enabled ? texts.nowNothing : texts.nowOff}</p>
      ) : (
        <ul className="grid gap-2 sm:grid-cols-2">
          {seen.data.map((each) => (
            <li key={each.series ?? each.device} className="min-w-0">
              <Seen seen={each} />
            </li>
          ))}
        </ul>
      )}
      {seen.hasNextPage && (
        <button type="button" className="button" onClick={() => void seen.fetchNextPage()}>
          {texts.nowMore}
        </button>
      )}
    </section>
  );
}

export function Seen({ seen }: { seen: RuleSeen }) {
  const unit = seen.unit === null ? "" : ` ${unitText(seen.unit)}`;
  return (
    <div className="grid h-full content-start gap-1 rounded-lg border border-line p-3">
      <p className="flex flex-wrap items-center justify-between gap-x-3">
        <span className="min-w-0 break-words font-semibold">
          {seen.device} · {seen.channel}
        </span>
        <State state={seen.state} />
      </p>
      <p className={seen.value === null ? "text-ink-soft" : "tabular text-xl font-bold"}>
        {seen.value === null ? texts.nowNoValue : `${numberText(seen.value)}${unit}`}
      </p>
      {seen.at !== null && (
        <p className="text-sm text-ink-soft">
          {texts.nowFrom} <Age at={seen.at} />
        </p>
      )}
      {seen.since !== null && (
        <p className="text-sm">
          {texts.nowBeyond} <Age at={seen.since} />
          {seen.peak !== null && ` · ${texts.nowPeak(`${numberText(seen.peak.value)}${unit}`)}`}
        </p>
      )}
      {seen.inputs.length > 0 && <Inputs inputs={seen.inputs} />}
      {seen.incident !== null && (
        <Link className="link inline-flex min-h-10 items-center" to={`/incidents/${seen.incident}`}>
          {texts.nowIncident}
        </Link>
      )}
    </div>
  );
}

function State({ state }: { state: RuleSeen["state"] }) {
  if (state === "raised") return <Tag tone="bad">{texts.nowRaised}</Tag>;
  if (state === "pending") return <Tag tone="warn">{texts.nowPending}</Tag>;
  if (state === "clear") return <Tag tone="ok">{texts.nowClear}</Tag>;
  return <Tag>{state}</Tag>;
}

function Inputs({ inputs }: { inputs: RuleSeen["inputs"] }) {
  return (
    <dl aria-label={texts.nowInputs} className="text-sm">
      {inputs.map((input) => (
        <div key={input.name} className="flex flex-wrap gap-x-2">
          <dt className="font-semibold">{input.name}</dt>
          <dd className="tabular">
            {input.value === null ? (
              texts.nowNoValue
            ) : (
              <>
                {numberText(input.value)} · <Age at={input.received_at} />
                {!input.counts && <span className="font-semibold text-warn"> · {texts.nowInputOld}</span>}
              </>
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}
