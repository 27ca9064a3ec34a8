/** What somebody did, as a sentence goes on after their name. */
const actions: Record<string, string> = {
  create: "created",
  edit: "changed",
  delete: "deleted",
  restore: "restored",
  resolve: "settled a conflict of",
  rule: "raised or changed",
  message: "wrote",
  "user.add": "added a user",
  "user.password": "changed a user's password",
  "device.command": "told a device to do something",
  "device.credentials": "made a device's password",
  "device.credentials.revoke": "took a device's password away",
  "mqtt.account.add": "added an account of MQTT",
  "mqtt.account.password": "made a new password for an account of MQTT",
  "mqtt.account.remove": "removed an account of MQTT",
  "decoders.put": "changed the decoders",
  "dead-letter.replay": "had unread payloads read again",
  "dead-letter.discard": "discarded unread payloads",
  "node.invite": "invited a node",
  "node.enrol": "took in a node",
};

/** One of a kind, in the words of its path. */
const kinds: Record<string, string> = {
  incidents: "an incident",
  resources: "a resource",
  assignments: "an assignment",
  devices: "a device",
  rules: "a rule",
  calibrations: "a calibration",
  users: "a user",
  messages: "a message",
  notes: "a note",
};

/** Where the words of the action name its object already. */
const NAMED: ReadonlySet<string> = new Set(["user.add", "user.password"]);

export const texts = {
  title: "Who did what",
  lead: "Every change that a person or a program made on this node, newest first. Each node keeps its own record.",
  back: "Nodes",
  empty: "Nothing yet.",
  action: (action: string) => actions[action] ?? action,
  object: (action: string, kind: string | null) => (kind === null || NAMED.has(action) ? null : (kinds[kind] ?? kind)),
  refresh: "Look again",
};
