/** The picture: a line of means with the band from the lowest to the highest, gaps hatched, and one sample looked at.
 *
 * Everything that it shows is also said in words and in a table beside it, so it is one image to a screen reader. */
import { type PointerEvent, useId, useLayoutEffect, useRef, useState } from "react";
import type { Gap, Sample } from "./samples.ts";
import { isDoubted, nearest, stretchesOf } from "./samples.ts";
import { timeTicks, valueRange, valueTicks } from "./scale.ts";

const HEIGHT_PX = 260;
const MARGIN = { left: 52, right: 10, top: 10, bottom: 28 };
/** A tick of time and its text need so much. */
const TIME_TICK_PX = 72;
/** From the middle to the tips of the mark on a doubted value. */
const MARK_PX = 5;

/** A value that something depends on: a line across, with a word at its end. */
export interface PlotLevel {
  at: number;
  text: string;
  /** What is beyond it is meant to be seen. */
  isAlarm: boolean;
}

interface PlotProps {
  samples: Sample[];
  gaps: Gap[];
  fromMs: number;
  toMs: number;
  /** What the picture shows, in a sentence. */
  label: string;
  /** Place of the sample that is looked at. */
  chosen: number | null;
  onChoose: (index: number) => void;
  levels?: readonly PlotLevel[];
}

export function Plot({ samples, gaps, fromMs, toMs, label, chosen, onChoose, levels = [] }: PlotProps) {
  const [box, width] = useWidth();
  const hatch = useId();
  const [low, high] = valueRange(
    Math.min(...levels.map(({ at }) => at), minOf(samples)),
    Math.max(...levels.map(({ at }) => at), maxOf(samples)),
  );
  const right = width - MARGIN.right;
  const bottom = HEIGHT_PX - MARGIN.bottom;
  const x = (atMs: number) => MARGIN.left + ((atMs - fromMs) / (toMs - fromMs)) * (right - MARGIN.left);
  const y = (value: number) => bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top);
  const middle = (sample: Sample) => x((sample.atMs + sample.endMs) / 2);
  const looked = chosen === null ? undefined : samples[chosen];
  // One shape for all of them: there may be thousands.
  const marks = samples
    .filter(isDoubted)
    .map((sample) => {
      const [left, top] = [middle(sample) - MARK_PX, y(sample.mean)];
      return `M${left.toFixed(1)},${top.toFixed(1)}l${MARK_PX},${-MARK_PX}l${MARK_PX},${MARK_PX}l${-MARK_PX},${MARK_PX}z`;
    })
    .join("");

  const choose = (event: PointerEvent<SVGSVGElement>) => {
    const left = event.currentTarget.getBoundingClientRect().left;
    const share = (event.clientX - left - MARGIN.left) / (right - MARGIN.left);
    const index = nearest(samples, fromMs + share * (toMs - fromMs));
    if (index >= 0) onChoose(index);
  };

  return (
    <div ref={box} className="min-w-0">
      <svg
        role="img"
        aria-label={label}
        width={width}
        height={HEIGHT_PX}
        viewBox={`0 0 ${width} ${HEIGHT_PX}`}
        className="block touch-pan-y select-none"
        onPointerDown={choose}
        onPointerMove={(event) => {
          if (event.pointerType === "mouse" || event.buttons > 0) choose(event);
        }}
      >
        <defs>
          <pattern id={hatch} width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
            <rect width="8" height="8" className="fill-warn-soft" />
            <line y2="8" strokeWidth="3" className="stroke-warn" opacity="0.5" />
          </pattern>
        </defs>
        {valueTicks(low, high).map((tick) => (
          <g key={tick.at}>
            <line x1={MARGIN.left} x2={right} y1={y(tick.at)} y2={y(tick.at)} className="stroke-line" />
            <text x={MARGIN.left - 6} y={y(tick.at) + 4} textAnchor="end" className="tabular fill-ink-soft text-xs">
              {tick.text}
            </text>
          </g>
        ))}
        {timeTicks(fromMs, toMs, Math.max(2, Math.floor((right - MARGIN.left) / TIME_TICK_PX))).map((tick) => (
          <g key={tick.at}>
            <line x1={x(tick.at)} x2={x(tick.at)} y1={MARGIN.top} y2={bottom} className="stroke-line" />
            <text
              x={Math.min(Math.max(x(tick.at), MARGIN.left + 8), right - 20)}
              y={HEIGHT_PX - 8}
              textAnchor="middle"
              className="tabular fill-ink-soft text-xs"
            >
              {tick.text}
            </text>
          </g>
        ))}
        {gaps.map((gap) => (
          <rect
            key={gap.fromMs}
            data-testid="gap"
            x={x(Math.max(gap.fromMs, fromMs))}
            y={MARGIN.top}
            width={Math.max(2, x(gap.toMs) - x(Math.max(gap.fromMs, fromMs)))}
            height={bottom - MARGIN.top}
            fill={`url(#${hatch})`}
          />
        ))}
        {stretchesOf(samples, gaps).map((stretch, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a stretch holds nothing of its own
          <Stretch key={index} stretch={stretch} x={middle} y={y} />
        ))}
        {marks !== "" && (
          <path data-testid="doubted" d={marks} className="fill-warn-soft stroke-warn" strokeWidth="2" />
        )}
        {levels.map((level) => (
          <g key={level.text} data-testid="level">
            <line
              x1={MARGIN.left}
              x2={right}
              y1={y(level.at)}
              y2={y(level.at)}
              className={level.isAlarm ? "stroke-bad" : "stroke-ink-soft"}
              strokeWidth={level.isAlarm ? 2 : 1}
              strokeDasharray={level.isAlarm ? undefined : "6 4"}
            />
            <text
              x={right - 4}
              y={y(level.at) - 4}
              textAnchor="end"
              className={`text-xs font-semibold ${level.isAlarm ? "fill-bad" : "fill-ink-soft"}`}
            >
              {level.text}
            </text>
          </g>
        ))}
        {looked && (
          <g>
            <line
              x1={middle(looked)}
              x2={middle(looked)}
              y1={MARGIN.top}
              y2={bottom}
              className="stroke-ink"
              strokeDasharray="3 3"
            />
            <line
              x1={middle(looked)}
              x2={middle(looked)}
              y1={y(looked.min)}
              y2={y(looked.max)}
              className="stroke-ink"
              strokeWidth="3"
            />
            <circle cx={middle(looked)} cy={y(looked.mean)} r="5" className="fill-ink stroke-surface" strokeWidth="2" />
          </g>
        )}
      </svg>
    </div>
  );
}

/** Not by spreading: a day of raw readings has more than a call takes. */
const minOf = (samples: readonly Sample[]) =>
  samples.reduce((least, sample) => Math.min(least, sample.min), Number.POSITIVE_INFINITY);
const maxOf = (samples: readonly Sample[]) =>
  samples.reduce((most, sample) => Math.max(most, sample.max), Number.NEGATIVE_INFINITY);

interface StretchProps {
  stretch: Sample[];
  x: (sample: Sample) => number;
  y: (value: number) => number;
}

function Stretch({ stretch, x, y }: StretchProps) {
  const point = (sample: Sample, value: number) => `${x(sample).toFixed(1)},${y(value).toFixed(1)}`;
  const [only] = stretch;
  if (only !== undefined && stretch.length === 1) {
    return (
      <g>
        <line x1={x(only)} x2={x(only)} y1={y(only.min)} y2={y(only.max)} className="stroke-accent" strokeWidth="2" />
        <circle cx={x(only)} cy={y(only.mean)} r="3" className="fill-accent" />
      </g>
    );
  }
  const band = [
    ...stretch.map((sample) => point(sample, sample.max)),
    ...stretch.toReversed().map((sample) => point(sample, sample.min)),
  ];
  return (
    <g>
      <polygon data-testid="band" points={band.join(" ")} className="fill-accent" opacity="0.25" />
      <polyline
        data-testid="mean"
        points={stretch.map((sample) => point(sample, sample.mean)).join(" ")}
        className="fill-transparent stroke-accent"
        strokeWidth="2"
        strokeLinejoin="round"
      />
    </g>
  );
}

/** The width that is there, as it changes. A fixed drawing that is scaled would have letters of 6 px on a phone. */
function useWidth(): [React.RefObject<HTMLDivElement | null>, number] {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(640);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = () => setWidth(Math.max(240, Math.round(element.clientWidth)));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [box, width];
}
