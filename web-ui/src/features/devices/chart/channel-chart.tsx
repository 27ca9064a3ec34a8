/** A channel over time: chooser, picture, the same in words, and a table. */
import { useState } from "react";
import type { Readings, Series } from "../../../api/types.ts";
import { durationText } from "../../../lib/duration.ts";
import { Age } from "../../../ui/age.tsx";
import { useNodeName } from "../../../ui/node-name.ts";
import { ErrorNotice, Notice } from "../../../ui/notice.tsx";
import { common } from "../../../ui/texts.ts";
import { numberText, unitText } from "../../../ui/value.tsx";
import { flagWords } from "../flags.ts";
import { Plot } from "./plot.tsx";
import {
  countFlagged,
  type Gap,
  gapsOf,
  indexOfPlace,
  meanOf,
  type Place,
  placeOf,
  type Sample,
  samplesOf,
  silentAfterMs,
  summaryOf,
} from "./samples.ts";
import { resolutionOf, SPANS, type Span, widthMs } from "./span.ts";
import { SamplesTable } from "./table.tsx";
import { texts } from "./texts.ts";
import { type Charted, useCharted, type Values } from "./use-charted.ts";

interface ChannelChartProps {
  series: Series;
  expectedIntervalS: number | null;
  span: Span;
  onSpan: (span: Span) => void;
}

export function ChannelChart({ series, expectedIntervalS, span, onSpan }: ChannelChartProps) {
  const [values, setValues] = useState<Values>("calibrated");
  const charted = useCharted(series.id, span, values);
  // Whether there is anything to choose is known once calibrated values came, and stays so while raw ones are looked at.
  const hasTwo = values === "raw" || charted.data?.answer.values === "calibrated";
  return (
    <section aria-label={texts.title(series.channel)} className="grid grid-cols-[minmax(0,1fr)] gap-3">
      <fieldset className="flex flex-wrap gap-2">
        <legend className="sr-only">{texts.choose}</legend>
        {SPANS.map((each) => (
          <label
            key={each}
            className="inline-flex min-h-12 min-w-14 cursor-pointer items-center justify-center rounded-lg border-2 border-line-strong px-3 font-semibold has-checked:border-accent has-checked:bg-accent has-checked:text-accent-ink has-focus-visible:outline-3 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent"
          >
            <input
              type="radio"
              name={`span-${series.id}`}
              className="sr-only"
              checked={each === span}
              onChange={() => onSpan(each)}
            />
            {texts.span(each)}
          </label>
        ))}
      </fieldset>
      {hasTwo && (
        <label className="inline-flex min-h-12 cursor-pointer items-center gap-2 font-semibold">
          <input
            type="checkbox"
            className="size-5"
            checked={values === "raw"}
            onChange={(event) => setValues(event.target.checked ? "raw" : "calibrated")}
          />
          {texts.asSent}
        </label>
      )}
      {charted.error !== null && <ErrorNotice error={charted.error} onRetry={() => void charted.refetch()} />}
      {charted.data === undefined ? (
        charted.error === null && (
          <p role="status" className="p-4 text-ink-soft">
            {common.loading}
          </p>
        )
      ) : (
        <Drawn series={series} charted={charted.data} expectedIntervalS={expectedIntervalS} />
      )}
    </section>
  );
}

interface DrawnProps {
  series: Series;
  charted: Charted;
  expectedIntervalS: number | null;
}

function Drawn({ series, charted, expectedIntervalS }: DrawnProps) {
  const [chosen, setChosen] = useState<Place | null>(null);
  const { answer, span, toMs } = charted;
  const samples = samplesOf(answer);
  const summary = summaryOf(samples);
  if (summary === null) {
    return (
      <Notice tone="warn" title={texts.none(texts.spanLong(span))}>
        {series.last && (
          <p>
            {texts.newest} <Age at={series.last.at} />. {texts.longer}
          </p>
        )}
      </Notice>
    );
  }
  const unit = series.unit === null ? "" : ` ${unitText(series.unit)}`;
  const value = (number: number) => `${numberText(number)}${unit}`;
  const width = widthMs(answer.resolution as ReturnType<typeof resolutionOf>) ?? 0;
  const gaps = gapsOf(samples, silentAfterMs(samples, width, expectedIntervalS), toMs);
  const fromMs = charted.fromMs ?? samples[0]?.atMs ?? toMs;
  const found = chosen === null ? -1 : indexOfPlace(samples, chosen);
  const index = found < 0 ? samples.length - 1 : found;
  const looked = samples[index];
  const choose = (at: number) => setChosen(placeOf(samples, at));
  const doubts = texts.doubts(countFlagged(samples, "contradicts"), countFlagged(samples, "suspect"));
  const words = [
    texts.lowest(value(summary.min.min), moment(summary.min.atMs)),
    texts.highest(value(summary.max.max), moment(summary.max.atMs)),
    texts.mean(value(meanOf(summary.mean, summary.min.min, summary.max.max))),
    texts.readings(summary.count),
    texts.gaps(gaps.length),
    ...doubts,
  ].join(", ");
  const label = `${texts.label(series.channel, series.device, texts.spanLong(span))}: ${words}`;
  return (
    <>
      {/* A single moment has no width to be drawn in. */}
      <Plot
        samples={samples}
        gaps={gaps}
        fromMs={Math.min(fromMs, toMs - 1)}
        toMs={Math.max(toMs, samples.at(-1)?.endMs ?? toMs)}
        label={label}
        chosen={found < 0 ? null : found}
        onChoose={choose}
      />
      {looked && (
        <div>
          <p className="tabular text-lg font-bold">
            {texts.looked(moment(looked.atMs), value(meanOf(looked.mean, looked.min, looked.max)))}
          </p>
          {looked.flags.length > 0 && <p className="font-semibold text-warn">{flagWords(looked.flags)}</p>}
          {looked.count > 1 && (
            <p className="tabular text-sm">{texts.between(value(looked.min), value(looked.max), looked.count)}</p>
          )}
          <input
            type="range"
            aria-label={texts.look}
            aria-valuetext={lookedText(looked, value)}
            className="h-12 w-full accent-accent"
            min={0}
            max={samples.length - 1}
            value={index}
            onChange={(event) => choose(Number(event.target.value))}
          />
        </div>
      )}
      <p className="first-letter:uppercase">{words}.</p>
      <p className="text-sm text-ink-soft">
        {answer.resolution !== resolutionOf(span) && `${texts.coarser(answer.resolution)} `}
        {answer.truncated && `${texts.cut} `}
        {texts.row(answer.resolution)} <Meaning answer={answer} />
      </p>
      <Sources sources={answer.sources} />
      {gaps.length > 0 && <Gaps gaps={gaps} expectedIntervalS={expectedIntervalS} />}
      <SamplesTable
        caption={texts.caption(series.channel, texts.spanLong(span))}
        samples={samples}
        gaps={gaps}
        raw={answer.resolution === "raw"}
        value={value}
      />
    </>
  );
}

/** Other nodes may have heard more: then it is said whose values these are, and up to when. */
function Sources({ sources }: { sources: Readings["sources"] }) {
  const nameOf = useNodeName();
  if (!sources?.some((source) => !source.here)) return null;
  return (
    <div>
      <p className="font-semibold">{texts.sources}</p>
      <ul className="list-disc pl-6">
        {sources.map((source) => (
          <li key={source.node}>
            {source.here ? texts.sourceHere : (source.name ?? nameOf(source.node))}: {texts.sourceUpTo}{" "}
            <Age at={source.to} />
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Whether the values are what the sensor sent, or what a calibration makes of it, and how surely. */
function Meaning({ answer }: { answer: Readings }) {
  if (answer.values !== "calibrated") return <>{texts.rawValues}</>;
  return (
    <>
      {texts.calibrated(answer.calibrations.length)}
      {answer.uncalibrated > 0 && ` ${texts.uncalibrated(answer.uncalibrated)}`}
      {answer.extrapolated && ` ${texts.extrapolated}`}
      {answer.approximate && ` ${texts.approximate}`}
    </>
  );
}

function lookedText(sample: Sample, value: (number: number) => string): string {
  const mean = texts.looked(moment(sample.atMs), value(meanOf(sample.mean, sample.min, sample.max)));
  if (sample.flags.length > 0) return `${mean}, ${flagWords(sample.flags)}`;
  return sample.count > 1 ? `${mean}, ${texts.between(value(sample.min), value(sample.max), sample.count)}` : mean;
}

const GAPS_SHOWN = 5;

function Gaps({ gaps, expectedIntervalS }: { gaps: Gap[]; expectedIntervalS: number | null }) {
  const newestFirst = gaps.toReversed();
  const lasted = (gap: Gap) => durationText((gap.toMs - gap.fromMs) / 1_000);
  return (
    <Notice tone="warn" title={texts.gapsTitle(gaps.length)}>
      <ul className="list-disc pl-6">
        {newestFirst.slice(0, GAPS_SHOWN).map((gap) => (
          <li key={gap.fromMs}>
            {gap.open
              ? texts.gapOpen(moment(gap.fromMs), lasted(gap))
              : texts.gap(moment(gap.fromMs), moment(gap.toMs), lasted(gap))}
          </li>
        ))}
        {gaps.length > GAPS_SHOWN && <li>{texts.gapsMore(gaps.length - GAPS_SHOWN)}</li>}
      </ul>
      <p className="mt-1 text-sm">
        {expectedIntervalS === null ? texts.gapsByRhythm : texts.gapsByStated(durationText(expectedIntervalS))}
      </p>
    </Notice>
  );
}

/** In this device's own time; the year only where it is another one. */
function moment(atMs: number): string {
  const date = new Date(atMs);
  const year = date.getFullYear() === new Date().getFullYear() ? {} : ({ year: "numeric" } as const);
  return date.toLocaleString(undefined, {
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    ...year,
  });
}
