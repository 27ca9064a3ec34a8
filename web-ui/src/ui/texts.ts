/** Words that every part of the page shares. */
import { ApiError, UnreachableError } from "../api/client.ts";

const labels: Record<string, string> = {
  reported: "Reported",
  confirmed: "Confirmed",
  active: "Active",
  contained: "Contained",
  closed: "Closed",
  false_alarm: "False alarm",
  extreme: "Extreme",
  severe: "Severe",
  moderate: "Moderate",
  minor: "Minor",
  unknown: "Unknown",
  Geo: "Geological",
  Met: "Weather and flood",
  Safety: "Public safety",
  Security: "Security",
  Rescue: "Rescue",
  Fire: "Fire",
  Health: "Health",
  Env: "Environment",
  Transport: "Transport",
  Infra: "Infrastructure",
  CBRNE: "CBRNE (hazardous material)",
  Other: "Other",
  requested: "Requested",
  committed: "Committed",
  en_route: "En route",
  on_scene: "On scene",
  released: "Released",
  cancelled: "Cancelled",
  available: "Available",
  assigned: "Assigned",
  out_of_service: "Out of service",
  approved: "Approved",
  disabled: "Disabled",
  open: "Open",
  resolved: "Resolved",
  queued: "Waiting for the device",
  sent: "Sent, not answered yet",
  acknowledged: "Done",
  failed: "Failed",
  expired: "Expired",
  replayed: "Read again",
  discarded: "Discarded",
  hq: "HQ",
  field: "Field node",
  gateway: "Gateway",
};

/** A word this page does not know comes from a newer node and is shown as it is. */
export const label = (value: string | null | undefined): string =>
  value === null || value === undefined ? "Not set" : (labels[value] ?? value);

const fieldLabels: Record<string, string> = {
  title: "Title",
  category: "Category",
  status: "Status",
  severity: "Severity",
  description: "Description",
  location: "Location",
  tags: "Tags",
  parent: "Part of",
  source: "Sensor",
  raised_at: "Raised",
  peak: "Peak",
  cleared_at: "Cleared",
  evidence: "Readings",
  name: "Name",
  kind: "Kind",
  type: "Type",
  organisation: "Organisation",
  capabilities: "Capabilities",
  out_of_service: "Out of service",
  state: "State",
  resource: "Resource",
  incident: "Incident",
  expected_interval_s: "Expected interval",
  enabled: "Enabled",
  deleted: "Deleted",
  valid_from: "Valid from",
  curve: "Curve",
  channel: "Channel",
  device: "Device",
  match: "Looks at",
  raise_above: "Raises above",
  clear_below: "Normal below",
  raise_below: "Raises below",
  clear_above: "Normal above",
  for_s: "Only after (s)",
  hold_s: "Normal for (s)",
  reopen_s: "Goes on within (s)",
  window_s: "Window (s)",
  after_s: "Silent for (s)",
  spread_min: "Smallest spread",
  either_way: "Either way",
  sta_s: "Short time (s)",
  lta_s: "Long time (s)",
  expression: "Formula",
  severities: "Graver from",
  silence: "Raises nothing",
};

export const fieldLabel = (field: string): string => fieldLabels[field] ?? field.replaceAll("_", " ");

export const common = {
  saving: "Saving…",
  loading: "Loading…",
  cancel: "Cancel",
  tryAgain: "Try again",
  loadMore: "Show more",
  optional: "optional",
  unit: "unit",
  stale: "Not current",
  sensorAuthor: "a sensor rule",
  commandLine: "the command line",
  unknownNode: "unknown node",
  by: (author: string, node: string) => `${author} at ${node}`,
  history: "History",
  historyEmpty: "No history on this node.",
  setTo: "→",
  deletedHere: "Deleted",
  changedNothing: "Did not change what is shown: it stood against another value, or repeated it.",
  seenBy: "Who has it",
  seenByLead: "Stored means on that node's disk. It does not mean that a person has read it.",
  hereStored: "Stored here",
  stored: "Stored",
  applied: "shown there",
  notApplied: "not shown there yet: it waits for an earlier change",
  notConfirmed: "Not confirmed yet",
  location: "Location",
  lat: "Latitude",
  lon: "Longitude",
  locationHint: "Degrees, WGS 84. South and west are negative.",
  usePosition: "Use my position",
  username: "User name",
  password: "Password",
  passwordOnce: "Write it down now: it is not shown again.",
  passwordNoted: "I have it",
  positionFailed: "The position of this device is not available. Type the coordinates instead.",
  fieldsWrong: (count: number) =>
    count === 1 ? "One field needs a change. Nothing was saved." : `${count} fields need a change. Nothing was saved.`,
};

export interface Advice {
  what: string;
  next: string;
}

/** What happened and what to do next, for any failure of a request. */
export function advice(error: unknown): Advice {
  if (error instanceof UnreachableError) {
    return {
      what: "The node did not answer, so it may not be saved.",
      next: "What you typed is kept here. Move closer or check the node's power, then try again: it will not be saved twice.",
    };
  }
  if (!(error instanceof ApiError)) {
    return {
      what: "Something went wrong in this page.",
      next: "What you typed is kept. Reload the page and try again.",
    };
  }
  switch (error.status) {
    case 401:
      return { what: "You are signed out.", next: "Sign in above this page, then try again. What you typed is kept." };
    case 403:
      return {
        what: "You may not do this.",
        next: "Ask whoever runs this node for the right, or sign in as another user.",
      };
    case 404:
    case 410:
      return {
        what: "It has been deleted, or this node has not received it yet.",
        next: "Go back to the list and look again.",
      };
    case 409:
      if (error.code === "version-unknown") {
        return {
          what: "This node does not know the version that you started from, so it cannot merge your edit.",
          next: "What you typed is kept. Compare it with what is shown now, then save on top of that, or wait until the nodes have met.",
        };
      }
      return { what: error.message, next: "Look at what is shown now, then try again. What you typed is kept." };
    case 412:
      return {
        what: "Somebody else has changed it in the meantime. Nothing was saved.",
        next: "What you typed is kept. Look at what is shown now, then save again.",
      };
    case 413:
      return { what: "This edit is too large: 32 KB is the most.", next: "Shorten the text and save again." };
    case 422:
      return error.fields.length > 0
        ? { what: common.fieldsWrong(error.fields.length), next: "Correct the fields marked below and save again." }
        : { what: error.message, next: "Correct it and save again. What you typed is kept." };
    case 429:
      return { what: "The node is receiving too many requests.", next: "Wait a few seconds and try again." };
    case 507:
      return {
        what: "The disk of this node is full. Nothing was saved.",
        next: "What you typed is kept here. Free space on the node, or write on another node.",
      };
    default:
      return {
        what: error.status >= 500 ? `The node failed: ${error.message}` : error.message,
        next: "What you typed is kept. Try again; if it fails again, tell whoever runs this node.",
      };
  }
}
