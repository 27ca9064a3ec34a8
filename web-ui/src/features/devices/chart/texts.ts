import type { Span } from "./span.ts";

const spans: Record<Span, { short: string; long: string }> = {
  "1h": { short: "1 h", long: "the last hour" },
  "24h": { short: "24 h", long: "the last 24 hours" },
  "7d": { short: "7 d", long: "the last 7 days" },
  "30d": { short: "30 d", long: "the last 30 days" },
  all: { short: "All", long: "all that is kept" },
};

const rows: Record<string, string> = {
  raw: "Each point is a reading.",
  "1m": "Each point is the mean of a minute; the band goes from its lowest to its highest reading.",
  "15m": "Each point is the mean of 15 minutes; the band goes from their lowest to their highest reading.",
  "1h": "Each point is the mean of an hour; the band goes from its lowest to its highest reading.",
};

const many = (count: number, one: string, more: string) => `${count.toLocaleString()} ${count === 1 ? one : more}`;

export const texts = {
  title: (channel: string) => `Chart of ${channel}`,
  choose: "Time shown",
  span: (span: Span) => spans[span].short,
  spanLong: (span: Span) => spans[span].long,
  row: (resolution: string) => rows[resolution] ?? "",
  coarser: (resolution: string) =>
    resolution === "1m"
      ? "There are more readings than can be drawn, so they are shown by the minute."
      : "Only other nodes heard it, and they pass on what 15 minutes come to.",
  sources: "Of each time the node that heard most is shown:",
  sourceHere: "this node",
  sourceUpTo: "up to",
  cut: "There are more than can be drawn: these are the newest.",
  none: (span: string) => `No readings in ${span}.`,
  newest: "The newest is from",
  longer: "Choose a longer time to see it.",
  label: (channel: string, device: string, span: string) => `${channel} of ${device} over ${span}`,
  lowest: (value: string, at: string) => `lowest ${value} at ${at}`,
  highest: (value: string, at: string) => `highest ${value} at ${at}`,
  mean: (value: string) => `mean ${value}`,
  readings: (count: number) => many(count, "reading", "readings"),
  gaps: (count: number) => (count === 0 ? "no gaps" : many(count, "gap", "gaps")),
  doubts: (contradicting: number, suspect: number): string[] => [
    ...(contradicting === 0 ? [] : [`${contradicting.toLocaleString()} with the time of another`]),
    ...(suspect === 0 ? [] : [`${suspect.toLocaleString()} doubted by their source`]),
  ],
  gapsTitle: (count: number) => (count === 1 ? "A gap without readings" : `${count} gaps without readings`),
  gap: (from: string, to: string, lasted: string) => `${from} to ${to} (${lasted})`,
  gapOpen: (from: string, lasted: string) => `since ${from} (${lasted}): still nothing`,
  gapsMore: (count: number) => `and ${many(count, "earlier one", "earlier ones")}`,
  gapsByStated: (interval: string) =>
    `A gap is more than one and a half times ${interval}, in which this sensor should send.`,
  gapsByRhythm: "Nobody has said how often this sensor sends, so gaps are guessed from its own rhythm.",
  look: "Look at a time",
  looked: (at: string, value: string) => `${at}: ${value}`,
  between: (min: string, max: string, count: number) => `${min} to ${max}, ${many(count, "reading", "readings")}`,
  asSent: "Show values as the sensor sent them",
  rawValues: "Values are as the sensor sent them.",
  calibrated: (count: number) =>
    count === 1 ? "Values are calibrated." : `Values are calibrated, by ${count} calibrations one after the other.`,
  uncalibrated: (count: number) =>
    `${many(count, "point is", "points are")} older than the first calibration, and as the sensor sent them.`,
  extrapolated: "Some lie beyond what the calibration was measured at.",
  approximate: "Some means are close, not exact: their single readings are no longer kept.",
  table: "Values as a table",
  caption: (channel: string, span: string) => `${channel} over ${span}, newest first`,
  time: "Time",
  value: "Value",
  meanColumn: "Mean",
  lowestColumn: "Lowest",
  highestColumn: "Highest",
  countColumn: "Readings",
  gapRow: (lasted: string) => `Nothing for ${lasted}`,
  gapRowOpen: (lasted: string) => `Nothing for ${lasted}, up to now`,
  more: "Show more rows",
};
