/** A rule looked at against stored readings, before it can wake anybody. */
import { useState } from "react";
import { api } from "../../api/client.ts";
import { inNodeTime } from "../../api/connection.ts";
import { paths } from "../../api/paths.ts";
import type { RuleInput, RuleTestResult } from "../../api/types.ts";
import { durationText } from "../../lib/duration.ts";
import { Age } from "../../ui/age.tsx";
import { Severity } from "../../ui/badges.tsx";
import { SelectField } from "../../ui/field.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { useWrite, type Write } from "../../ui/use-write.ts";
import { numberText } from "../../ui/value.tsx";
import { creationOf } from "./form.ts";
import { RuleCurves } from "./rule-curves.tsx";
import { texts } from "./texts.ts";

const DAY_MS = 86_400_000;
/** More are counted, and told on request: a phone shows some ten at once. */
const SHOWN_AT_FIRST = 10;

interface Question {
  rule: Partial<RuleInput>;
  days: number;
}

export interface TestRun {
  days: number;
  setDays: (days: number) => void;
  write: Write<Question, RuleTestResult>;
  /** What the answer that is shown was asked about, which may be other than what is chosen and written now. */
  asked: { days: number; rule: RuleInput } | null;
  run: (input: RuleInput) => Promise<void>;
}

export function useTestRun(): TestRun {
  const [days, setDays] = useState(7);
  const [asked, setAsked] = useState<TestRun["asked"]>(null);
  const write = useWrite(({ rule, days: range }: Question) =>
    api.post<RuleTestResult>(paths.ruleTest(), {
      rule,
      from: inNodeTime(Date.now() - range * DAY_MS),
      values: true,
    }),
  );
  const run = async (input: RuleInput) => {
    setAsked({ days, rule: input });
    await write.run({ rule: creationOf(input), days });
  };
  return { days, setDays, write, asked, run };
}

interface TestRunSectionProps {
  test: TestRun;
  onRun: () => void;
  /** The form shows what does not fit at its fields. */
  errorShown?: boolean;
}

export function TestRunSection({ test, onRun, errorShown = false }: TestRunSectionProps) {
  const { write } = test;
  return (
    <section aria-label={texts.testTitle} className="grid gap-3 rounded-lg border border-line p-3">
      <div>
        <p className="font-semibold">{texts.testTitle}</p>
        <p className="text-sm text-ink-soft">{texts.testHint}</p>
      </div>
      <div className="flex flex-wrap items-end gap-3">
        <div className="min-w-40">
          <SelectField
            label={texts.testRange}
            value={String(test.days)}
            onChange={(days) => test.setDays(Number(days))}
            options={texts.testRanges}
          />
        </div>
        <button type="button" className="button max-sm:w-full" aria-disabled={write.saving} onClick={onRun}>
          {texts.testRun}
        </button>
      </div>
      {write.error !== null && !errorShown && <ErrorNotice error={write.error} onRetry={onRun} />}
      <div aria-live="polite">
        {write.saving && <p className="font-semibold">{texts.testing}</p>}
        {write.state.phase === "saved" && test.asked !== null && (
          <Result result={write.state.answer} days={test.asked.days} rule={test.asked.rule} />
        )}
      </div>
    </section>
  );
}

function Result({ result, days, rule }: { result: RuleTestResult; days: number; rule: RuleInput }) {
  const [all, setAll] = useState(false);
  const range = texts.range(days);
  const newestFirst = result.firings.toReversed();
  const shown = all ? newestFirst : newestFirst.slice(0, SHOWN_AT_FIRST);
  if (result.series === 0) return <Notice tone="warn" title={texts.noSeries} />;
  return (
    <div className="grid gap-2">
      <p className="text-lg font-bold">{texts.fired(result.fired, range)}</p>
      <p className="text-sm">
        {result.readings === 0 && result.passed_over === 0
          ? texts.noReadings
          : texts.testedOn(result.readings, result.series)}
      </p>
      {result.passed_over > 0 && (
        <p className="text-sm font-semibold text-warn">{texts.passedOver(result.passed_over)}</p>
      )}
      {result.truncated && <p className="text-sm font-semibold text-warn">{texts.truncated}</p>}
      <RuleCurves result={result} rule={rule} range={range} />
      {shown.length > 0 && (
        <ol aria-label={texts.firings} className="grid gap-2">
          {shown.map((firing) => (
            <li
              key={`${firing.device} ${firing.channel} ${firing.raised_at}`}
              className="rounded-lg border border-line bg-surface p-3"
            >
              <p className="flex flex-wrap items-center gap-x-3">
                <span className="font-semibold">{firing.title}</span>
                <Severity value={firing.severity} />
              </p>
              <p className="text-sm">
                {new Date(firing.raised_at).toLocaleString()} (<Age at={firing.raised_at} />) ·{" "}
                {firing.cleared_at
                  ? texts.firingLasted(durationText(secondsBetween(firing.raised_at, firing.cleared_at)))
                  : texts.firingOpen}
                {" · "}
                {texts.firingPeak} {numberText(firing.peak.value)}
                {firing.reopened > 0 && ` · ${texts.reopened(firing.reopened)}`}
              </p>
              <p className="text-sm text-ink-soft">
                {firing.device} · {firing.channel}
              </p>
            </li>
          ))}
        </ol>
      )}
      {shown.length < newestFirst.length && (
        <button type="button" className="button" onClick={() => setAll(true)}>
          {texts.showAll(newestFirst.length)}
        </button>
      )}
    </div>
  );
}

const secondsBetween = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 1_000;
