/** The decoders that were added here, between JSON that a person types and the list that the node takes. Pure.
 *
 * The node takes the whole list at once, so that two entries are never in use half. */
import type { Decoder } from "../../api/types.ts";
import { replaced } from "../../lib/list.ts";

export type Entry = Record<string, unknown>;

type Added = Decoder & { entry: Entry };

/** Those that were added here, in their order, without what is stored but is no entry: it cannot be sent back. */
export const addedDecoders = (decoders: readonly Decoder[]): Added[] =>
  decoders.filter((decoder): decoder is Added => decoder.origin === "api" && decoder.entry !== null);

/** What `PUT /v1/decoders` replaces. */
export const addedEntries = (decoders: readonly Decoder[]): Entry[] =>
  addedDecoders(decoders).map(({ entry }) => cleaned(entry));

/** Without what says nothing: options that are null or empty make an entry hard to read. */
function cleaned(entry: Entry): Entry {
  const says = ([, value]: [string, unknown]) =>
    value !== null &&
    !(Array.isArray(value) && value.length === 0) &&
    !(typeof value === "object" && value !== null && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(entry).filter(says));
}

export const entryText = (entry: Entry): string => JSON.stringify(cleaned(entry), null, 2);

export type ParsedEntry = { entry: Entry } | { error: string };

export function parseEntry(text: string): ParsedEntry {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { error: "An object is expected: { … }" };
  return { entry: value as Entry };
}

/** An entry as it was when somebody began to change it. */
export interface SeenEntry {
  at: number;
  text: string;
}

/** What somebody is writing; `seen` is what it takes the place of, null for a new one. */
export interface EntryDraft {
  seen: SeenEntry | null;
  text: string;
}

/** Where it stands by now, null where it is not there any more: others may have changed the list since. */
export function placeOf(entries: readonly Entry[], seen: SeenEntry): number | null {
  // Twins are told apart by where they stood.
  const there = entries[seen.at];
  if (there !== undefined && entryText(there) === seen.text) return seen.at;
  const at = entries.findIndex((entry) => entryText(entry) === seen.text);
  return at === -1 ? null : at;
}

/** `at` null: at the end. */
export const withEntry = (entries: readonly Entry[], at: number | null, entry: Entry): Entry[] =>
  at === null ? [...entries, entry] : replaced(entries, at, entry);

/** One to start from for each format. */
export const TEMPLATES: { label: string; entry: Entry }[] = [
  { label: "A number on a topic", entry: { topic: "site/+/+", format: "plain", device: "{2}", channel: "{3}" } },
  {
    label: "JSON",
    entry: {
      topic: "weather/+/obs",
      format: "json",
      device: "{2}",
      values: [{ channel: "temperature", pointer: "/obs/temp", unit: "Cel" }],
    },
  },
  {
    label: "LoRaWAN (ChirpStack v4)",
    entry: { topic: "application/+/device/+/#", format: "chirpstack", device: "name" },
  },
  { label: "Zigbee2MQTT", entry: { topic: "zigbee2mqtt/#", format: "zigbee2mqtt" } },
  { label: "Tasmota", entry: { topic: "tele/#", format: "tasmota" } },
  { label: "Meshtastic", entry: { topic: "msh/#", format: "meshtastic" } },
  { label: "SenML", entry: { topic: "senml/#", format: "senml-json" } },
  {
    label: "Bytes, by a script",
    entry: {
      topic: "raw/+/data",
      format: "script",
      device: "{2}",
      script: {
        source:
          "function decodeUplink(input) {\n  return { data: { level_cm: input.bytes[0] << 8 | input.bytes[1] } };\n}\n",
      },
    },
  },
  { label: "Ignore a topic", entry: { topic: "homeassistant/#", format: "ignore" } },
];
