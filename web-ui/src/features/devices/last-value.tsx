/** The newest value of a channel. One that may not be current is hatched and labelled, never shown as fresh. */
import { useConnection } from "../../api/connection.ts";
import type { HeardBy, Series } from "../../api/types.ts";
import { isStale } from "../../lib/age.ts";
import { useClock } from "../../lib/clock.ts";
import { Age } from "../../ui/age.tsx";
import { StaleTag } from "../../ui/badges.tsx";
import { useNodeName } from "../../ui/node-name.ts";
import { numberText, unitText } from "../../ui/value.tsx";
import { doubtsIn, flagWords } from "./flags.ts";
import { texts } from "./texts.ts";

export function LastValue({ series }: { series: Series }) {
  const { reachable } = useConnection();
  const { last } = series;
  // The node knows how often the device should send; where nobody has said, its age alone speaks.
  const old = useClock((nowMs) => last?.stale ?? isStale(last?.at, nowMs));
  const stale = old || !reachable;
  const heard = newestOf(series.heard_by);
  const doubts = doubtsIn(last?.flags ?? []);
  return (
    <div
      className={`h-full rounded-lg border px-3 py-2 ${stale ? "stale border-warn" : "border-line"}`}
      title={stale ? texts.staleHint : undefined}
    >
      <p className="flex flex-wrap items-center justify-between gap-x-2 text-sm">
        <span className="font-semibold">{series.channel}</span>
        {stale && <StaleTag />}
      </p>
      {last && (
        <p className={`tabular text-xl font-bold ${stale ? "text-ink-soft" : ""}`}>
          {numberText(last.value)} <Unit unit={series.unit} />
          {last.calibration !== null && (
            <span className="text-sm font-normal text-ink-soft"> {texts.raw(numberText(last.raw))}</span>
          )}
        </p>
      )}
      {doubts.length > 0 && <p className="text-sm font-semibold text-warn">{flagWords(doubts)}</p>}
      {last && (
        <p className="text-sm text-ink-soft">
          <Age at={last.at} /> · {texts.readings(series.count)}
        </p>
      )}
      {heard && (
        <Elsewhere heard={heard} unit={series.unit} alone={last === null} others={series.heard_by.length - 1} />
      )}
    </div>
  );
}

const Unit = ({ unit }: { unit: string | null }) =>
  unit && <span className="text-base font-normal">{unitText(unit)}</span>;

/** Of the nodes that heard it, the one that heard it last. */
export function newestOf(heardBy: readonly HeardBy[]): HeardBy | null {
  const [first, ...rest] = heardBy;
  if (first === undefined) return null;
  return rest.reduce((newest, each) => (Date.parse(each.to) > Date.parse(newest.to) ? each : newest), first);
}

interface ElsewhereProps {
  heard: HeardBy;
  unit: string | null;
  /** This node has never heard it: what the other says is all there is. */
  alone: boolean;
  others: number;
}

function Elsewhere({ heard, unit, alone, others }: ElsewhereProps) {
  const nameOf = useNodeName();
  return (
    <>
      {alone && heard.last && (
        <p className="tabular text-xl font-bold text-ink-soft">
          {numberText(heard.last.mean)} <Unit unit={unit} />{" "}
          <span className="text-sm font-normal">{texts.meanOfQuarter}</span>
        </p>
      )}
      <p className="text-sm text-ink-soft">
        {alone ? texts.heardBy(heard.name ?? nameOf(heard.node)) : texts.alsoHeardBy(heard.name ?? nameOf(heard.node))}{" "}
        <Age at={heard.to} />
        {others > 0 && ` ${texts.andOthers(others)}`}
      </p>
    </>
  );
}
