/** The newest value of a channel. One past its expected interval is hatched and labelled, never shown as fresh. */
import { useConnection } from "../../api/connection.ts";
import type { Series } from "../../api/types.ts";
import { isStale } from "../../lib/age.ts";
import { useClock } from "../../lib/clock.ts";
import { Age } from "../../ui/age.tsx";
import { StaleTag } from "../../ui/badges.tsx";
import { numberText, unitText } from "../../ui/value.tsx";
import { texts } from "./texts.ts";

interface LastValueProps {
  series: Series;
  expectedIntervalS: number | null | undefined;
}

export function LastValue({ series, expectedIntervalS }: LastValueProps) {
  const { reachable } = useConnection();
  const old = useClock((nowMs) => isStale(series.last?.at, expectedIntervalS, nowMs));
  const stale = old || !reachable;
  return (
    <div
      className={`h-full rounded-lg border px-3 py-2 ${stale ? "stale border-warn" : "border-line"}`}
      title={stale ? texts.staleHint : undefined}
    >
      <p className="flex flex-wrap items-center justify-between gap-x-2 text-sm">
        <span className="font-semibold">{series.channel}</span>
        {stale && <StaleTag />}
      </p>
      {series.last && (
        <p className={`tabular text-xl font-bold ${stale ? "text-ink-soft" : ""}`}>
          {numberText(series.last.value)}{" "}
          {series.unit && <span className="text-base font-normal">{unitText(series.unit)}</span>}
        </p>
      )}
      <p className="text-sm text-ink-soft">
        <Age at={series.last?.at} /> · {texts.readings(series.count)}
      </p>
    </div>
  );
}
