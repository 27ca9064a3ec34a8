import type { Encoding } from "./bytes.ts";

const encodings: Record<Encoding, string> = { text: "text", hex: "hex", base64: "base64" };

const brokerState: Record<string, string> = {
  connected: "Connected",
  connecting: "Connecting",
  waiting: "Waits before it tries again",
  open: "Left alone after failures",
  half_open: "Tries once again",
};

const origin: Record<string, string> = {
  "built-in": "Built in",
  configuration: "muster.toml",
  api: "Added here",
};

const many = (count: number, one: string, more: string) => `${count.toLocaleString()} ${count === 1 ? one : more}`;

export const texts = {
  back: "Devices",
  title: "Sources and decoders",
  lead: "Where readings come from, and how messages become values.",
  listens: "Sensors publish to this node over MQTT at",
  overTls: "over TLS at",
  fingerprint: "SHA-256 of its certificate, to compare on the device:",
  listensHint: "Its own topics are muster/v1/DEVICE/CHANNEL.",

  brokers: "Brokers",
  brokersLead: "MQTT brokers that are there already, to which this node listens. They are named in muster.toml.",
  brokersNone: "None. Sensors reach this node directly.",
  brokerState,
  since: "Connected",
  failures: (count: number) => many(count, "failure", "failures in a row"),
  nextAttempt: (at: string) => `tries again at ${at}`,
  messages: (count: number) => `${many(count, "message", "messages")} since this node started`,

  decoders: "Decoders",
  decodersLead:
    "The first whose topic fits reads a message. Those of muster.toml are changed there; those added here are asked after them.",
  ownFormat: "Muster's own format",
  origin,
  showEntry: (topic: string) => `Show how ${topic} is read`,
  addDecoder: "Add a decoder",
  editDecoder: "Edit a decoder",
  edit: "Edit",
  editOf: (topic: string) => `Edit the decoder of ${topic}`,
  remove: "Remove",
  removeOf: (topic: string) => `Remove the decoder of ${topic}`,
  removeAsk: (topic: string) => `Remove the decoder of ${topic}? Its messages will not be read any more.`,
  removeConfirm: "Remove it",
  templates: "Start from",
  entry: "Entry (JSON)",
  entryHint: "A topic with + and #, a format, and the options of the format.",
  notJson: (detail: string) => `This is not JSON: ${detail}`,
  save: "Save",
  entryGone: "The decoder that you are changing was changed or removed by somebody else.",
  entryGoneNext: "What you typed is kept. Look at the list above: it can be added as another decoder, or dropped.",
  saveAsNew: "Add as another decoder",
  decodersSaved: "Saved here, and in use from the next message on.",

  tryTitle: "Try a message",
  tryLead: "Shows what the decoders make of it. Nothing is stored.",
  topic: "Topic",
  topicMissing: "A topic is needed.",
  payload: "Payload",
  encoding: "Given as",
  encodings,
  payloadWrong: (encoding: string) => `This is not ${encoding}.`,
  tryRun: "Try",
  tryRefused: "This message would become a dead letter",
  tryWarned: "Its decoder warns",
  tryWarnedNext: "The values are kept as doubted ones: rules do not look at them.",
  readBy: (decoder: string) => (decoder === "" ? "No decoder covers this topic." : `Read by ${decoder}`),
  noise: (why: string) => `It says nothing about a device: ${why}`,
  nothing: "It holds no values.",
  valuesOf: (device: string) => `Values of ${device}`,
  channel: "Channel",
  value: "Value",
  deviceTime: "Its own time",
  ofReceipt: "none: time of receipt",
  battery: (pct: string) => `Battery ${pct} %`,
  signal: (dbm: string) => `Signal ${dbm} dBm`,
  overNoise: (db: string) => `Signal ${db} dB over the noise`,
  firmware: (version: string) => `Firmware ${version}`,
  label: "Calls itself",
  saysOnline: "Says that it is online",
  saysOffline: "Says that it is gone",
  skipped: (count: number) => `${many(count, "member holds", "members hold")} nothing that is kept.`,

  deadLetters: "Payloads that nobody could read",
  openLetters: (count: number) => `${count.toLocaleString()} open`,
  seeLetters: "See why, and read them again once the cause is fixed",
  filter: "Which of them",
  topicPart: "Part of the topic",
  reason: "Reason",
  anyReason: "Any reason",
  /** Its stable name is in plain words already: unknown-topic. */
  reasonOf: (code: string) => code.charAt(0).toUpperCase() + code.slice(1).replaceAll("-", " "),
  source: "Source",
  anySource: "Any source",
  noneFound: "None of this kind.",
  deadLettersLead:
    "Kept with their bytes and acknowledged to the sender. They can be read again once the cause is fixed.",
  deadLettersNone: "None. Every payload so far could be read.",
  received: "received",
  retry: (at: string) => `tried again by itself at ${at}`,
  attempts: (count: number) => `${count} ${count === 1 ? "attempt" : "attempts"}`,
  replay: "Read again",
  discard: "Discard",
  ofAll: {
    replay: "Read all again",
    discard: "Discard all",
    discardAsk: "Discard all payloads that nobody could read? Their bytes stay listed as discarded for a while.",
  },
  ofThese: {
    replay: "Read all of these again",
    discard: "Discard all of these",
    discardAsk:
      "Discard all payloads that the filter finds, those further down too? Their bytes stay listed as discarded for a while.",
  },
  manyDone: {
    replay: (settled: number, failed: number) =>
      `${settled.toLocaleString()} were read, ${failed.toLocaleString()} still cannot be.`,
    discard: (settled: number, _failed: number) => `${settled.toLocaleString()} were discarded.`,
  },
  letterOf: (action: string, topic: string) => `${action}: ${topic}`,
};
