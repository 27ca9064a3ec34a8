// The same story with every client: see tests/e2e/src/third_party.rs. Here npm's mqtt.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const mqtt = createRequire(`${process.cwd()}/`)("mqtt");
const [host, port, version, device, ca] = process.argv.slice(2);
const prefix = `muster/v1/${device}`;

async function connect(name, options = {}) {
  const messages = [];
  const waiting = [];
  const client = mqtt.connect(`${ca ? "mqtts" : "mqtt"}://${host}:${port}`, {
    clientId: `mqttjs-${version}-${device}-${name}`,
    protocolVersion: Number(version),
    clean: false,
    reconnectPeriod: 0,
    ...(version === "5" ? { properties: { sessionExpiryInterval: 600 } } : {}),
    ...(ca ? { ca: readFileSync(ca) } : {}),
    ...options,
  });
  // Before it connects: what waited for a session comes at once.
  client.on("message", (topic, payload, packet) => {
    const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain };
    const taker = waiting.shift();
    if (taker) taker(message);
    else messages.push(message);
  });
  const connack = await new Promise((resolve, reject) => {
    client.once("connect", resolve);
    client.once("error", reject);
  });
  const take = () =>
    messages.length > 0 ? Promise.resolve(messages.shift()) : new Promise((resolve) => waiting.push(resolve));
  return { client, take, present: connack.sessionPresent };
}

const deadline = setTimeout(() => {
  console.error("the story did not end");
  process.exit(1);
}, 30_000);

let listener = await connect("listener");
assert.equal(listener.present, false);
await listener.client.subscribeAsync(`${prefix}/#`, { qos: 2 });
const will = { topic: `${prefix}/running`, payload: Buffer.from("0"), qos: 1, retain: false };
const sensor = await connect("sensor", { will });
for (const qos of [0, 1, 2]) {
  await sensor.client.publishAsync(`${prefix}/level`, String(qos), { qos });
  assert.deepEqual(await listener.take(), { topic: `${prefix}/level`, payload: String(qos), qos, retain: false });
}
await listener.client.endAsync();
await sensor.client.publishAsync(`${prefix}/level`, "3", { qos: 1 });
await sensor.client.publishAsync(`${prefix}/level`, "4", { qos: 2 });
listener = await connect("listener");
assert.equal(listener.present, true);
assert.equal((await listener.take()).payload, "3");
assert.equal((await listener.take()).payload, "4");

await sensor.client.publishAsync(`${prefix}/kept`, "5", { qos: 1, retain: true });
await listener.take();
const late = await connect("late");
await late.client.subscribeAsync(`${prefix}/kept`, { qos: 1 });
assert.deepEqual(await late.take(), { topic: `${prefix}/kept`, payload: "5", qos: 1, retain: true });

// As when the power fails: no DISCONNECT.
sensor.client.stream.destroy();
assert.deepEqual(await listener.take(), { topic: `${prefix}/running`, payload: "0", qos: 1, retain: false });
await late.client.endAsync();
await listener.client.endAsync();
clearTimeout(deadline);
