/** Every address of the node's interface that this page uses, in one place. */

type Query = Record<string, string | number | null | undefined>;

const query = (parameters: Query): string => {
  const present = Object.entries(parameters).filter(
    ([, value]) => value !== undefined && value !== null && value !== "",
  );
  if (present.length === 0) return "";
  return `?${new URLSearchParams(present.map(([name, value]) => [name, String(value)]))}`;
};
const part = encodeURIComponent;

export interface IncidentFilter {
  status?: string;
  severity?: string;
}

/** Which messages that nobody could read; what is left out is not asked for. */
export interface DeadLetterFilter {
  source?: string;
  /** A part of it, in any case. */
  topic?: string;
  code?: string;
}

export const paths = {
  session: () => "/session",
  status: () => "/v1/status",
  events: () => "/v1/events",

  incidents: (filter: IncidentFilter & { limit?: number; cursor?: string | null } = {}) =>
    `/v1/incidents${query({ ...filter })}`,
  incident: (id: string) => `/v1/incidents/${part(id)}`,
  incidentHistory: (id: string, page: { limit?: number; cursor?: string | null } = {}) =>
    `/v1/incidents/${part(id)}/history${query({ ...page })}`,

  resources: (page: { limit?: number; cursor?: string | null } = {}) => `/v1/resources${query({ ...page })}`,
  resource: (id: string) => `/v1/resources/${part(id)}`,

  assignments: (filter: { incident?: string; resource?: string; limit?: number; cursor?: string | null } = {}) =>
    `/v1/assignments${query({ ...filter })}`,
  assignment: (id: string) => `/v1/assignments/${part(id)}`,

  devices: (filter: { name?: string; q?: string; limit?: number; cursor?: string | null } = {}) =>
    `/v1/devices${query({ ...filter })}`,
  device: (id: string) => `/v1/devices/${part(id)}`,
  series: (filter: { device?: string; q?: string; limit?: number; cursor?: string | null } = {}) =>
    `/v1/series${query({ ...filter })}`,
  deviceHistory: (id: string, page: { limit?: number; cursor?: string | null } = {}) =>
    `/v1/devices/${part(id)}/history${query({ ...page })}`,
  deviceCommands: (id: string, page: { limit?: number; cursor?: string | null } = {}) =>
    `/v1/devices/${part(id)}/commands${query({ ...page })}`,
  deviceCredentials: (id: string) => `/v1/devices/${part(id)}/credentials`,
  readings: (
    id: string,
    range: { from?: string; to?: string; resolution: string; values?: "calibrated" | "raw"; limit: number },
  ) => `/v1/series/${part(id)}/readings${query({ ...range })}`,
  brokers: () => "/v1/brokers",
  mqttAccounts: (page: { limit?: number; cursor?: string | null } = {}) => `/v1/mqtt-accounts${query({ ...page })}`,
  mqttAccount: (name: string) => `/v1/mqtt-accounts/${part(name)}`,
  mqttAccountPassword: (name: string) => `/v1/mqtt-accounts/${part(name)}/password`,
  audit: (page: { limit?: number; cursor?: string | null } = {}) => `/v1/audit${query({ ...page })}`,
  decoders: () => "/v1/decoders",
  decodersTry: () => "/v1/decoders/try",
  deadLetters: (filter: DeadLetterFilter & { state?: "open"; limit?: number; cursor?: string | null } = {}) =>
    `/v1/dead-letters${query({ ...filter })}`,
  /** Without a filter all of them, which has to be said. */
  deadLettersAction: (action: "replay" | "discard", filter: DeadLetterFilter, cursor: string | null) =>
    `/v1/dead-letters/${action}${query({ ...filter, all: query({ ...filter }) === "" ? "true" : null, cursor })}`,
  deadLetterAction: (id: string, action: "replay" | "discard") => `/v1/dead-letters/${part(id)}/${action}`,

  calibrations: (filter: { device?: string; channel?: string; limit?: number; cursor?: string | null } = {}) =>
    `/v1/calibrations${query({ ...filter })}`,
  calibration: (id: string) => `/v1/calibrations/${part(id)}`,

  messages: (page: { limit?: number; cursor?: string | null } = {}) => `/v1/messages${query({ ...page })}`,

  rules: (page: { limit?: number; cursor?: string | null } = {}) => `/v1/rules${query({ ...page })}`,
  rule: (id: string) => `/v1/rules/${part(id)}`,
  ruleRestore: (id: string) => `/v1/rules/${part(id)}/restore`,
  ruleHistory: (id: string, page: { limit?: number; cursor?: string | null } = {}) =>
    `/v1/rules/${part(id)}/history${query({ ...page })}`,
  ruleState: (id: string, page: { limit?: number; cursor?: string | null } = {}) =>
    `/v1/rules/${part(id)}/state${query({ ...page })}`,
  ruleTest: () => "/v1/rules/test",

  conflicts: (filter: { state?: "open" | "resolved"; limit?: number; cursor?: string | null } = {}) =>
    `/v1/conflicts${query({ ...filter })}`,
  conflict: (id: string) => `/v1/conflicts/${part(id)}`,
  conflictResolve: (id: string) => `/v1/conflicts/${part(id)}/resolve`,
};
