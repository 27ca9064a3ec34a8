/** The readings of a chart, asked for again and again while it is on the screen. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { api } from "../../../api/client.ts";
import { nodeNowMs } from "../../../api/connection.ts";
import { paths } from "../../../api/paths.ts";
import { keys } from "../../../api/queries.ts";
import type { Readings, Resolution } from "../../../api/types.ts";
import { isFinerThanQuarters, lengthMs, refreshMs, resolutionOf, type Span } from "./span.ts";

/** The most that the node answers. */
const POINTS_MAX = 10_000;

export interface Charted {
  /** What it was asked for: an older one stands in while the new one comes. */
  span: Span;
  answer: Readings;
  /** null: as far back as there are readings. */
  fromMs: number | null;
  toMs: number;
}

/** What a reading means by the calibration of its time, or as the sensor sent it. */
export type Values = "calibrated" | "raw";

async function ask(series: string, span: Span, values: Values, signal: AbortSignal): Promise<Charted> {
  const toMs = nodeNowMs();
  const length = lengthMs(span);
  const fromMs = length === null ? null : toMs - length;
  const range = {
    ...(fromMs === null ? {} : { from: new Date(fromMs).toISOString() }),
    to: new Date(toMs).toISOString(),
    values,
    limit: POINTS_MAX,
  };
  const read = (resolution: Resolution) => api.get<Readings>(paths.readings(series, { ...range, resolution }), signal);
  const answer = await read(resolutionOf(span));
  // A seismometer sends more in an hour than can be drawn; its newest minutes alone would not be the hour.
  if (answer.truncated && answer.resolution === "raw") return { answer: await read("1m"), span, fromMs, toMs };
  // What only other nodes heard comes here by quarters of an hour.
  if (answer.points.length === 0 && isFinerThanQuarters(span)) {
    const quarters = await read("15m");
    if (quarters.points.length > 0) return { answer: quarters, span, fromMs, toMs };
  }
  return { answer, span, fromMs, toMs };
}

export const useCharted = (series: string, span: Span, values: Values) =>
  useQuery({
    queryKey: [...keys.devices.readings(series), span, values],
    queryFn: ({ signal }) => ask(series, span, values, signal),
    refetchInterval: refreshMs(span),
    // The old picture stays until the new one is there, but never that of another channel.
    placeholderData: (previous, query) => (query?.queryKey[2] === series ? keepPreviousData(previous) : undefined),
  });
