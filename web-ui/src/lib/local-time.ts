/** Moments between RFC 3339 and the time of this device, as `datetime-local` fields have it. */

/** A moment as `datetime-local` takes it; no finer than it has to be. */
export function toLocal(moment: string): string {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return "";
  const shifted = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return shifted
    .toISOString()
    .slice(0, -1)
    .replace(/(:00)?\.000$/, "");
}

/** RFC 3339, in UTC; null where there is no time. */
export function toMoment(local: string): string | null {
  const date = new Date(local);
  return local === "" || Number.isNaN(date.getTime()) ? null : date.toISOString().replace(".000Z", "Z");
}
