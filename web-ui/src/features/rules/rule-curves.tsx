/** The value that a rule would have looked at, over the time of a test run, with the levels across it. */
import { useState } from "react";
import type { RuleCurve, RuleInput, RuleTestResult } from "../../api/types.ts";
import { SelectField } from "../../ui/field.tsx";
import { numberText } from "../../ui/value.tsx";
import { Plot, type PlotLevel } from "../devices/chart/plot.tsx";
import { gapsOf, type Sample, samplesOfRows, silentAfterMs, summaryOf } from "../devices/chart/samples.ts";
import { texts } from "./texts.ts";

interface RuleCurvesProps {
  result: RuleTestResult;
  rule: RuleInput;
  /** In words. */
  range: string;
}

export function RuleCurves({ result, rule, range }: RuleCurvesProps) {
  const [chosen, setChosen] = useState(0);
  const curves = result.values ?? [];
  const place = chosen < curves.length ? chosen : 0;
  const curve = curves[place];
  if (curve === undefined) return null;
  return (
    <figure className="grid min-w-0 gap-2">
      <figcaption className="font-semibold">{texts.curve}</figcaption>
      {curves.length > 1 && (
        <SelectField
          label={texts.curveOf}
          value={String(place)}
          onChange={(index) => setChosen(Number(index))}
          options={curves.map(({ device, channel }, index) => ({
            value: String(index),
            label: `${device} · ${channel}`,
          }))}
        />
      )}
      <Curve
        key={`${curve.device} ${curve.channel}`}
        curve={curve}
        levels={levelsOf(rule)}
        fromMs={Date.parse(result.from)}
        toMs={Date.parse(result.to)}
        range={range}
      />
    </figure>
  );
}

interface CurveProps {
  curve: RuleCurve;
  levels: PlotLevel[];
  fromMs: number;
  toMs: number;
  range: string;
}

function Curve({ curve, levels, fromMs, toMs, range }: CurveProps) {
  const [chosen, setChosen] = useState<number | null>(null);
  const widthMs = curve.width_s * 1_000;
  const samples = samplesOfRows(curve.points, widthMs);
  const summary = summaryOf(samples);
  if (summary === null) return null;
  const between = texts.curveBetween(numberText(summary.min.min), numberText(summary.max.max));
  const words = [between, ...levels.map((level) => level.text)].join(", ");
  const looked = chosen === null ? undefined : samples[chosen];
  return (
    <>
      <Plot
        samples={samples}
        gaps={gapsOf(samples, silentAfterMs(samples, widthMs, null), toMs)}
        fromMs={Math.min(fromMs, toMs - 1)}
        toMs={Math.max(toMs, samples.at(-1)?.endMs ?? toMs)}
        label={`${texts.curveLabel(curve.device, curve.channel, range)}: ${words}`}
        chosen={chosen}
        onChoose={setChosen}
        levels={levels}
      />
      <input
        type="range"
        aria-label={texts.curveLook}
        aria-valuetext={looked && lookedText(looked)}
        className="h-12 w-full accent-accent"
        min={0}
        max={samples.length - 1}
        value={chosen ?? samples.length - 1}
        onChange={(event) => setChosen(Number(event.target.value))}
      />
      <p className="tabular text-sm">{looked === undefined ? words : lookedText(looked)}</p>
    </>
  );
}

const lookedText = (sample: Sample): string =>
  texts.curveLooked(new Date(sample.atMs).toLocaleString(), numberText(sample.min), numberText(sample.max));

/** The levels that a rule says, in the unit of its value. */
export function levelsOf(rule: Pick<RuleInput, "raise_above" | "clear_below" | "raise_below" | "clear_above">) {
  const raise = rule.raise_above ?? rule.raise_below;
  const clear = rule.clear_below ?? rule.clear_above;
  const levels: PlotLevel[] = [];
  if (typeof raise === "number") levels.push({ at: raise, text: texts.raiseLevel(numberText(raise)), isAlarm: true });
  if (typeof clear === "number" && clear !== raise)
    levels.push({ at: clear, text: texts.clearLevel(numberText(clear)), isAlarm: false });
  return levels;
}
