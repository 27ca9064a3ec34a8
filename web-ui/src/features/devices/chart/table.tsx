/** The values of a chart as a table: for screen readers, and for whoever needs the numbers. Gaps are rows of their own. */
import { useState } from "react";
import { durationText } from "../../../lib/duration.ts";
import { flagWords } from "../flags.ts";
import { type Gap, meanOf, placeOf, type Sample } from "./samples.ts";
import { texts } from "./texts.ts";

/** Rows put into the page at a time: thousands make a phone stall. */
const ROWS = 50;

interface SamplesTableProps {
  caption: string;
  samples: Sample[];
  gaps: Gap[];
  raw: boolean;
  value: (number: number) => string;
}

export function SamplesTable({ caption, samples, gaps, raw, value }: SamplesTableProps) {
  const [open, setOpen] = useState(false);
  const [rows, setRows] = useState(ROWS);
  const gapAfter = new Map(gaps.map((gap) => [gap.fromMs, gap]));
  const hidden = Math.max(0, samples.length - rows);
  const shown = samples
    .slice(hidden)
    .map((sample, index) => ({ sample, next: samples[hidden + index + 1], place: placeOf(samples, hidden + index) }))
    .toReversed();
  const columns = raw ? 2 : 5;
  const names = raw ? [texts.value] : [texts.meanColumn, texts.lowestColumn, texts.highestColumn, texts.countColumn];
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="cursor-pointer py-3 font-semibold">{texts.table}</summary>
      {open && (
        <div className="overflow-x-auto">
          <table className="tabular w-full text-left text-sm">
            <caption className="sr-only">{caption}</caption>
            <thead>
              <tr className="border-b-2 border-line">
                <th scope="col" className="py-1 pr-3">
                  {texts.time}
                </th>
                {names.map((name) => (
                  <th key={name} scope="col" className="py-1 pr-3">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {shown.map(({ sample, next, place }) => (
                <Rows
                  key={`${sample.atMs}.${place?.nth}`}
                  sample={sample}
                  // Of several with one time the gap comes after the last.
                  gap={next?.atMs === sample.atMs ? undefined : gapAfter.get(sample.endMs)}
                  raw={raw}
                  columns={columns}
                  value={value}
                />
              ))}
            </tbody>
          </table>
          {shown.length < samples.length && (
            <button type="button" className="button mt-2 w-full" onClick={() => setRows(rows + 10 * ROWS)}>
              {texts.more}
            </button>
          )}
        </div>
      )}
    </details>
  );
}

interface RowsProps {
  sample: Sample;
  /** What came, or did not come, after it: above it, since the newest is first. */
  gap: Gap | undefined;
  raw: boolean;
  columns: number;
  value: (number: number) => string;
}

function Rows({ sample, gap, raw, columns, value }: RowsProps) {
  const lasted = gap && durationText((gap.toMs - gap.fromMs) / 1_000);
  return (
    <>
      {gap && lasted && (
        <tr className="stale border-b border-line">
          <td colSpan={columns} className="py-1 font-semibold text-warn">
            {gap.open ? texts.gapRowOpen(lasted) : texts.gapRow(lasted)}
          </td>
        </tr>
      )}
      <tr className="border-b border-line">
        <th scope="row" className="py-1 pr-3 font-normal whitespace-nowrap">
          <time dateTime={new Date(sample.atMs).toISOString()}>{new Date(sample.atMs).toLocaleString()}</time>
        </th>
        <td className="pr-3">
          <span className="whitespace-nowrap">{value(meanOf(sample.mean, sample.min, sample.max))}</span>
          {sample.flags.length > 0 && <span className="block font-semibold text-warn">{flagWords(sample.flags)}</span>}
        </td>
        {!raw && (
          <>
            <td className="pr-3 whitespace-nowrap">{value(sample.min)}</td>
            <td className="pr-3 whitespace-nowrap">{value(sample.max)}</td>
            <td>{sample.count.toLocaleString()}</td>
          </>
        )}
      </tr>
    </>
  );
}
