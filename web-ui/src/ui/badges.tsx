/** Severity and state as short labels. Colour never stands alone: the word is always there, and bars count severity. */
import { common, label } from "./texts.ts";

const severityColour: Record<string, string> = {
  extreme: "text-extreme",
  severe: "text-severe",
  moderate: "text-moderate",
  minor: "text-minor",
};
const severityBars: Record<string, number> = { extreme: 4, severe: 3, moderate: 2, minor: 1 };

export const severityEdge: Record<string, string> = {
  extreme: "border-l-extreme",
  severe: "border-l-severe",
  moderate: "border-l-moderate",
  minor: "border-l-minor",
};

export function Severity({ value }: { value: string }) {
  const bars = severityBars[value] ?? 0;
  return (
    <span className={`inline-flex items-center gap-1.5 font-bold ${severityColour[value] ?? "text-ink-soft"}`}>
      <svg aria-hidden="true" width="18" height="14" viewBox="0 0 18 14" fill="currentColor">
        {[0, 1, 2, 3].map((index) => (
          <rect
            key={index}
            x={index * 4.6}
            y={10 - index * 3}
            width="3.4"
            height={4 + index * 3}
            opacity={index < bars ? 1 : 0.25}
          />
        ))}
      </svg>
      {label(value)}
    </span>
  );
}

type Tone = "plain" | "ok" | "warn" | "bad" | "accent";
const tones: Record<Tone, string> = {
  plain: "border-line-strong text-ink",
  ok: "border-ok text-ok bg-ok-soft",
  warn: "border-warn text-warn bg-warn-soft",
  bad: "border-bad text-bad bg-bad-soft",
  accent: "border-accent text-accent bg-accent-soft",
};

export function Tag({ tone = "plain", children }: { tone?: Tone; children: string }) {
  return (
    <span className={`inline-block rounded-md border px-2 py-0.5 text-sm font-semibold ${tones[tone]}`}>
      {children}
    </span>
  );
}

export const StaleTag = () => <Tag tone="warn">{common.stale}</Tag>;
