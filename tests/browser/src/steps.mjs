// What people and sensors do in more than one test.
import assert from "node:assert/strict";
import mqtt from "mqtt";
import { PASSWORD } from "./nodes.mjs";

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

/** A program that is signed in as the administrator: `(method, path, body, headers)`, answers with the body. */
export async function administrator(node) {
  const ask = async (path, options) => {
    const answer = await fetch(node.url + path, options);
    const text = await answer.text();
    assert.ok(answer.ok, `${options.method} ${path}: ${answer.status} ${text}`);
    return text === "" ? null : JSON.parse(text);
  };
  const form = new URLSearchParams({ grant_type: "password", username: "admin", password: PASSWORD });
  const { access_token } = await ask("/oauth/token", { method: "POST", body: form });
  return (method, path, body, headers = {}) =>
    ask(path, {
      method,
      headers: { authorization: `Bearer ${access_token}`, "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
}
