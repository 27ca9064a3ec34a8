/** What the page reads: query keys, and the hooks around them. Lists come in pages and follow `next`. */
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { api } from "./client.ts";
import { type DeadLetterFilter, type IncidentFilter, paths } from "./paths.ts";
import type {
  Assignment,
  AuditRecord,
  Broker,
  Calibration,
  Conflict,
  DeadLetter,
  DecoderPage,
  Device,
  DeviceCommand,
  DeviceCommandPage,
  HistoryEntry,
  Incident,
  KnownPeer,
  Message,
  MqttAccount,
  NodeStatus,
  Page,
  Peer,
  Resource,
  Rule,
  RuleSeen,
  Series,
  StatusAnswer,
} from "./types.ts";

/** The state of the links and of the node; also the heartbeat that notices when the node falls silent. */
const STATUS_EVERY_MS = 4_000;
/** Readings, and what is this node's own business, send no events: the last values are asked for. */
const VALUES_EVERY_MS = 4_000;
/** Who has a document moves without the document changing. */
const SEEN_BY_EVERY_MS = 4_000;
const PAGE = 50;
/** For choosing from and for grouping; the most one request may ask for. */
const WHOLE = 500;

export const keys = {
  session: () => ["session"] as const,
  status: () => ["status"] as const,
  incidents: {
    all: () => ["incidents"] as const,
    list: (filter: IncidentFilter) => ["incidents", "list", filter] as const,
    one: (id: string) => ["incidents", "one", id] as const,
    history: (id: string) => ["incidents", "history", id] as const,
  },
  resources: { all: () => ["resources"] as const },
  assignments: { all: () => ["assignments"] as const, of: (incident: string) => ["assignments", incident] as const },
  devices: {
    all: () => ["devices"] as const,
    one: (id: string) => ["devices", "one", id] as const,
    history: (id: string) => ["devices", "history", id] as const,
    commands: (id: string) => ["devices", "commands", id] as const,
    series: () => ["devices", "series"] as const,
    readings: (series: string) => ["devices", "readings", series] as const,
  },
  calibrations: {
    all: () => ["calibrations"] as const,
    of: (device: string, channel: string) => ["calibrations", device, channel] as const,
  },
  messages: { all: () => ["messages"] as const },
  brokers: { all: () => ["brokers"] as const },
  audit: { all: () => ["audit"] as const },
  mqttAccounts: { all: () => ["mqtt-accounts"] as const },
  decoders: { all: () => ["decoders"] as const },
  deadLetters: {
    all: () => ["dead-letters"] as const,
    list: (filter: DeadLetterFilter) => ["dead-letters", "list", filter] as const,
  },
  rules: {
    all: () => ["rules"] as const,
    one: (id: string) => ["rules", "one", id] as const,
    history: (id: string) => ["rules", "history", id] as const,
    state: (id: string) => ["rules", "state", id] as const,
  },
  conflicts: {
    all: () => ["conflicts"] as const,
    open: () => ["conflicts", "open"] as const,
    one: (id: string) => ["conflicts", "one", id] as const,
  },
};

interface Asking {
  /** Also without an event that says to. */
  everyMs?: number;
  /** What was found for other words stays until the answer is there, so that a list does not blink with each letter. */
  keepOld?: boolean;
  /** It moves only when it is opened or somebody asks: whoever reads it must not lose their place. */
  still?: boolean;
}

/** `everything` of ask-again.ts leaves it out, too. */
const STILL = {
  staleTime: Number.POSITIVE_INFINITY,
  refetchOnWindowFocus: false,
  refetchOnMount: "always",
} as const;

/** A list that grows by `fetchNextPage`. */
function usePages<Item>(
  queryKey: readonly unknown[],
  path: (cursor: string | null) => string,
  { everyMs, keepOld = false, still = false }: Asking = {},
) {
  return useInfiniteQuery({
    queryKey,
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) => api.get<Page<Item>>(path(pageParam), signal),
    getNextPageParam: (page) => page.next,
    select: (data) => data.pages.flatMap((page) => page.items),
    ...(everyMs === undefined ? {} : { refetchInterval: everyMs }),
    ...(keepOld ? { placeholderData: keepPreviousData } : {}),
    ...(still ? STILL : {}),
  });
}

const isNode = (peer: Peer): peer is KnownPeer => peer.node_id !== null;

const byKind = ({ peers, ...status }: StatusAnswer): NodeStatus => ({
  ...status,
  peers: peers.filter(isNode),
  dialled: peers.filter((peer) => !isNode(peer)),
});

export const useStatus = () =>
  useQuery({
    queryKey: keys.status(),
    queryFn: ({ signal }) => api.get<StatusAnswer>(paths.status(), signal),
    select: byKind,
    refetchInterval: STATUS_EVERY_MS,
  });

export const useIncidents = (filter: IncidentFilter) =>
  usePages<Incident>(keys.incidents.list(filter), (cursor) => paths.incidents({ ...filter, limit: PAGE, cursor }));

export const useIncident = (id: string) =>
  useQuery({
    queryKey: keys.incidents.one(id),
    queryFn: ({ signal }) => api.get<Incident>(paths.incident(id), signal),
    refetchInterval: SEEN_BY_EVERY_MS,
  });

export const useIncidentHistory = (id: string) =>
  usePages<HistoryEntry>(keys.incidents.history(id), (cursor) => paths.incidentHistory(id, { limit: PAGE, cursor }));

export const useResources = () =>
  usePages<Resource>(keys.resources.all(), (cursor) => paths.resources({ limit: WHOLE, cursor }));

export const useAssignments = (incident: string) =>
  usePages<Assignment>(keys.assignments.of(incident), (cursor) =>
    paths.assignments({ incident, limit: WHOLE, cursor }),
  );

/** `q` is a part of their names; empty for all. */
export const useDevices = (q = "") =>
  usePages<Device>(["devices", "list", q], (cursor) => paths.devices({ q, limit: PAGE, cursor }), {
    everyMs: VALUES_EVERY_MS,
    keepOld: true,
  });

export const useDevice = (id: string) =>
  useQuery({
    queryKey: keys.devices.one(id),
    queryFn: ({ signal }) => api.get<Device>(paths.device(id), signal),
    refetchInterval: VALUES_EVERY_MS,
  });

/** null where this node knows none of that name. */
export const useDeviceNamed = (name: string) =>
  useQuery({
    queryKey: [...keys.devices.all(), "named", name],
    queryFn: async ({ signal }) => {
      const page = await api.get<Page<Device>>(paths.devices({ name, limit: 1 }), signal);
      return page.items.find((device) => device.name === name) ?? null;
    },
  });

export const useDeviceHistory = (id: string) =>
  usePages<HistoryEntry>(keys.devices.history(id), (cursor) => paths.deviceHistory(id, { limit: PAGE, cursor }));

/** Commands, newest first, and what the device last said about itself. */
export function useDeviceCommands(id: string) {
  const query = useInfiniteQuery({
    queryKey: keys.devices.commands(id),
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) =>
      api.get<DeviceCommandPage>(paths.deviceCommands(id, { limit: PAGE, cursor: pageParam }), signal),
    getNextPageParam: (page) => page.next,
    refetchInterval: VALUES_EVERY_MS,
  });
  const pages = query.data?.pages;
  const items: DeviceCommand[] | undefined = pages?.flatMap((page) => page.items);
  return { ...query, data: items, reported: pages?.[0]?.reported ?? null };
}

/** All channels of one device. */
export const useSeriesOf = (device: string) =>
  usePages<Series>([...keys.devices.series(), device], (cursor) => paths.series({ device, limit: WHOLE, cursor }), {
    everyMs: VALUES_EVERY_MS,
  });

/** `q` is a part of a device's or channel's name; empty for all. */
export const useSeries = (q = "") =>
  usePages<Series>([...keys.devices.series(), null, q], (cursor) => paths.series({ q, limit: WHOLE, cursor }), {
    everyMs: VALUES_EVERY_MS,
    keepOld: true,
  });

export const useCalibrations = (device: string, channel: string) =>
  usePages<Calibration>(keys.calibrations.of(device, channel), (cursor) =>
    paths.calibrations({ device, channel, limit: WHOLE, cursor }),
  );

export const useMessages = () =>
  usePages<Message>(keys.messages.all(), (cursor) => paths.messages({ limit: PAGE, cursor }), {
    everyMs: VALUES_EVERY_MS,
  });

export const useBrokers = () =>
  usePages<Broker>(keys.brokers.all(), () => paths.brokers(), { everyMs: VALUES_EVERY_MS });

/** As the letters of their sensors have them. They are named in muster.toml, so they last as long as the node runs. */
export const useBrokerNames = (): string[] =>
  usePages<Broker>(keys.brokers.all(), () => paths.brokers()).data?.map(({ name }) => `broker ${name}`) ?? [];

export const useAudit = () =>
  usePages<AuditRecord>(keys.audit.all(), (cursor) => paths.audit({ limit: PAGE, cursor }), { still: true });

export const useMqttAccounts = () =>
  usePages<MqttAccount>(keys.mqttAccounts.all(), (cursor) => paths.mqttAccounts({ limit: PAGE, cursor }));

/** All in one page, with the version that says what a write replaces. */
export const useDecoders = () =>
  useQuery({
    queryKey: keys.decoders.all(),
    queryFn: ({ signal }) => api.get<DecoderPage>(paths.decoders(), signal),
    refetchInterval: VALUES_EVERY_MS,
  });

export const useDeadLetters = (filter: DeadLetterFilter) =>
  usePages<DeadLetter>(
    keys.deadLetters.list(filter),
    (cursor) => paths.deadLetters({ ...filter, state: "open", limit: PAGE, cursor }),
    { keepOld: true },
  );

export const useRules = () => usePages<Rule>(["rules", "list"], (cursor) => paths.rules({ limit: WHOLE, cursor }));

export const useRule = (id: string) =>
  useQuery({
    queryKey: keys.rules.one(id),
    queryFn: ({ signal }) => api.get<Rule>(paths.rule(id), signal),
    refetchInterval: SEEN_BY_EVERY_MS,
  });

export const useRuleState = (id: string) =>
  usePages<RuleSeen>(keys.rules.state(id), (cursor) => paths.ruleState(id, { limit: PAGE, cursor }), {
    everyMs: VALUES_EVERY_MS,
  });

export const useRuleHistory = (id: string) =>
  usePages<HistoryEntry>(keys.rules.history(id), (cursor) => paths.ruleHistory(id, { limit: PAGE, cursor }));

export const useOpenConflicts = () =>
  usePages<Conflict>(keys.conflicts.open(), (cursor) => paths.conflicts({ state: "open", limit: PAGE, cursor }));

export const useConflict = (id: string) =>
  useQuery({
    queryKey: keys.conflicts.one(id),
    queryFn: ({ signal }) => api.get<Conflict>(paths.conflict(id), signal),
  });
