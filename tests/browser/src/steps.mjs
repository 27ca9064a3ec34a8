// What people and sensors do in more than one test.
import mqtt from "mqtt";

export const go = (page, name) =>
  page.getByRole("navigation", { name: "Main" }).getByRole("link", { name }).click();

export async function approveDevice(page, name) {
  await go(page, "Devices");
  await page.getByLabel("Device name").fill(name);
  await page.getByRole("button", { name: "Approve", exact: true }).click();
  await page
    .getByText(/Saved here/)
    .first()
    .waitFor();
}

/** QoS 1: resolves when the node has acknowledged, that is when the readings are on its disk. Numbers and words go as
 * they are, objects as JSON. */
export async function publish(node, topic, ...values) {
  const client = await mqtt.connectAsync(`mqtt://${node.addresses.mqtt}`, { protocolVersion: 4, reconnectPeriod: 0 });
  const text = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  try {
    // As many at once as a node takes without holding the connection back.
    for (let at = 0; at < values.length; at += 100) {
      const some = values.slice(at, at + 100);
      await Promise.all(some.map((value) => client.publishAsync(topic, text(value), { qos: 1 })));
    }
  } finally {
    await client.endAsync();
  }
}

export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;

/** Readings of the past with their own times, one each `everyMs`, the newest `everyMs` before now. `value` gets the age
 * of the reading; where it answers null there is none. */
export function history(lengthMs, everyMs, unit, value) {
  const now = Date.now();
  const readings = [];
  for (let ageMs = lengthMs; ageMs >= everyMs; ageMs -= everyMs) {
    const v = value(ageMs);
    if (v !== null) readings.push({ v, t: new Date(now - ageMs).toISOString(), u: unit });
  }
  return readings;
}

/** A page that scrolls sideways hides half of itself from a thumb. */
export const sideways = (page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
