// A device over time, what its values mean, what it is told; where readings come from; messages between posts.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import mqtt from "mqtt";
import { browserTest, openPage, screenshot, signIn } from "./browser.mjs";
import { operation } from "./nodes.mjs";
import { approveDevice, go, HOUR_MS, history, MINUTE_MS, publish, sideways } from "./steps.mjs";

async function openDevice(page, name) {
  await go(page, "Devices");
  await page.getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { name, level: 1 }).waitFor();
}

browserTest("a day of a sensor is drawn with its gap, in words and as a table", async (t, browser) => {
  const { hq } = await operation(t);
  const page = await openPage(browser, hq);
  await signIn(page);
  await approveDevice(page, "river-1");
  // Silent from 8 to 6 hours ago.
  const level = (ageMs) => (ageMs < 8 * HOUR_MS && ageMs > 6 * HOUR_MS ? null : ageMs > 12 * HOUR_MS ? 4 : 3);
  await publish(hq, "muster/v1/river-1/level", ...history(30 * HOUR_MS, 5 * MINUTE_MS, "m", level));

  await openDevice(page, "river-1");
  await t.test("how often it should send is said once, and makes gaps exact", async () => {
    await page.getByRole("button", { name: "Edit", exact: true }).click();
    const form = page.getByRole("form", { name: "Edit device" });
    await form.getByLabel("Should send every (optional)", { exact: true }).fill("5");
    await form.getByLabel("Latitude").fill("48,3");
    await form.getByLabel("Longitude").fill("14.28");
    await form.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText("48.30000, 14.28000").first().waitFor();
    await page.getByText(/Saved here/).waitFor();
  });

  const chart = page.getByRole("region", { name: "Chart of level" });
  const picture = chart.getByRole("img");
  await t.test("the last 24 hours: a line on both sides of one gap", async () => {
    const words = /level of river-1 over the last 24 hours: lowest 3 m at .*, highest 4 m at/;
    await picture.and(page.getByLabel(words)).waitFor();
    assert.match(await picture.getAttribute("aria-label"), /1 gap$/);
    assert.equal(await chart.getByTestId("gap").count(), 1);
    assert.equal(await chart.getByTestId("mean").count(), 2);
    await chart.getByText(/\(2 h\)|\(1 h 5\d min\)/).first().waitFor();
    await screenshot(page, "device");
  });

  await t.test("each time shown has its own resolution, and the address keeps it", async () => {
    for (const [span, resolution] of [
      ["1 h", "raw"],
      ["7 d", "15m"],
      ["30 d", "1h"],
      ["All", "1h"],
    ]) {
      const asked = page.waitForRequest((request) => request.url().includes(`resolution=${resolution}`));
      await chart.getByText(span, { exact: true }).click();
      await asked;
    }
    assert.match(page.url(), /span=all/);
    await page.reload();
    await picture.and(page.getByLabel(/over all that is kept/)).waitFor();
    await chart.getByText("24 h", { exact: true }).click();
    await picture.and(page.getByLabel(/over the last 24 hours/)).waitFor();
  });

  await t.test("the keyboard looks at one time after the other", async () => {
    const slider = chart.getByRole("slider", { name: "Look at a time" });
    const newest = await slider.getAttribute("aria-valuetext");
    assert.match(newest, /: 3 m$/);
    await slider.press("Home");
    assert.match(await slider.getAttribute("aria-valuetext"), /: 4 m$/);
  });

  await t.test("the table has the values, and a row for the gap", async () => {
    await chart.getByText("Values as a table").click();
    const table = chart.getByRole("table", { name: /level over the last 24 hours/ });
    await table.getByRole("cell", { name: "3 m" }).first().waitFor();
    assert.equal(await table.getByRole("columnheader").count(), 5);
    for (;;) {
      const more = chart.getByRole("button", { name: "Show more rows" });
      if ((await more.count()) === 0) break;
      await more.click();
    }
    await table.getByRole("cell", { name: /^Nothing for / }).waitFor();
  });

  await t.test("a calibration changes what values mean, and what came stays to be seen", async () => {
    const calibration = page.getByRole("region", { name: "Calibration of level" });
    await calibration.getByRole("button", { name: "Add a calibration" }).click();
    const form = page.getByRole("form", { name: "Add a calibration" });
    await form.getByLabel("Given as").selectOption("points");
    await form.getByLabel("Raw value 1").fill("0");
    await form.getByLabel("True value 1").fill("1");
    await form.getByLabel("Raw value 2").fill("0");
    await form.getByLabel("True value 2").fill("11");
    await form.getByRole("button", { name: "Add", exact: true }).click();
    await form.getByText("This raw value is there twice.").waitFor();
    await form.getByLabel("Raw value 2").fill("10");
    await form.getByText("The newest reading, raw 3, would be 4 m.").waitFor();
    await form.getByRole("button", { name: "Add", exact: true }).click();
    await calibration.getByText("Counts now").waitFor();
    await calibration.getByText("2 points: 0 → 1, 10 → 11").waitFor();
    const newest = page.getByRole("button", { name: /^level/ });
    await newest.filter({ hasText: "4 m" }).filter({ hasText: "(raw 3)" }).waitFor();
    await picture.and(page.getByLabel(/lowest 4 m at .*, highest 5 m at/)).waitFor();
    await chart.getByLabel("Show values as the sensor sent them").check();
    await picture.and(page.getByLabel(/lowest 3 m at .*, highest 4 m at/)).waitFor();

    await calibration.getByRole("button", { name: /^Delete the calibration/ }).click();
    await calibration.getByRole("button", { name: "Delete it" }).click();
    await calibration.getByText("None: values are shown as the sensor sends them.").waitFor();
  });

  const command = page.getByRole("list", { name: "Commands" }).getByRole("listitem");
  await t.test("a command whose answer was lost is sent again, and is there once", async () => {
    const form = page.getByRole("form", { name: "Send a command" });
    await form.getByLabel("Command", { exact: true }).fill('{"relay": "on"}');
    const path = "**/v1/devices/*/commands";
    await page.route(path, async (route) => {
      await route.fetch();
      await route.abort();
    });
    await form.getByRole("button", { name: "Send" }).click();
    await form.getByText("The node did not answer, so it may not be saved.").waitFor();
    await page.unroute(path);
    await command.filter({ hasText: '{"relay":"on"}' }).filter({ hasText: "Waiting for the device" }).waitFor();
    await form.getByRole("button", { name: "Send" }).click();
    await form.getByText("Stored. It goes to the device when it listens.").waitFor();
    assert.equal(await command.count(), 1);
  });

  await t.test("a command is taken by the device, and its answer is shown", async () => {

    const device = await mqtt.connectAsync(`mqtt://${hq.addresses.mqtt}`, { clientId: "river-1", reconnectPeriod: 0 });
    const heard = new Promise((resolve) => device.once("message", (_topic, payload) => resolve(JSON.parse(payload))));
    await device.subscribeAsync("muster/v1/river-1/cmd", { qos: 1 });
    const { id } = await heard;
    const answer = JSON.stringify({ id, ok: true, detail: "pump runs" });
    await device.publishAsync("muster/v1/river-1/state", answer, { qos: 1 });
    await device.endAsync();
    await command.filter({ hasText: "Done" }).filter({ hasText: "The device says: pump runs" }).waitFor();
  });

  await page.setViewportSize({ width: 360, height: 740 });
  assert.equal(await sideways(page), 0, "the device's page scrolls sideways at 360 px");
});

browserTest("a decoder is tried, refused at its field, added, and reads what nobody could read", async (t, browser) => {
  const { hq } = await operation(t);
  await hq.stop();
  await writeFile(join(hq.directory, "muster.toml"), '[[decoders]]\ntopic = "zigbee2mqtt/#"\nformat = "zigbee2mqtt"\n');
  await hq.start();
  const page = await openPage(browser, hq, { width: 360, height: 740 });
  await signIn(page);
  await publish(hq, "site/well/depth", "12.5");

  await go(page, "Devices");
  await page.getByText("One payload could not be read").waitFor();
  await page.getByRole("link", { name: "Sources and decoders" }).click();
  await page.getByText("None. Sensors reach this node directly.").waitFor();

  const trial = page.getByRole("form", { name: "Try a message" });
  const attempt = async (topic, payload, encoding) => {
    await trial.getByLabel("Topic", { exact: true }).fill(topic);
    await trial.getByLabel("Given as").selectOption(encoding);
    await trial.getByLabel("Payload", { exact: true }).fill(payload);
    await trial.getByRole("button", { name: "Try", exact: true }).click();
  };
  const values = page.getByRole("region", { name: "Try a message" }).getByRole("table");

  await t.test("tried: what the configuration reads, and what nothing reads", async () => {
    await attempt("zigbee2mqtt/kitchen", '{"temperature": 21.5, "battery": 80}', "text");
    await page.getByText("Read by zigbee2mqtt").waitFor();
    await values.getByRole("row", { name: "temperature 21.5 °C" }).waitFor();
    await attempt("zigbee2mqtt/kitchen", "7b7", "hex");
    await page.getByText("This is not hex.").waitFor();
    await attempt("site/well/depth", "MTIuNQ", "base64");
    await page.getByText("This message would become a dead letter").waitFor();
  });

  const form = page.getByRole("form", { name: "Add a decoder" });
  await t.test("refused: what does not fit is said at the entry, and what was typed is kept", async () => {
    await page.getByRole("button", { name: "Add a decoder" }).click();
    await form.getByRole("button", { name: "A number on a topic" }).click();
    const entry = form.getByLabel("Entry (JSON)");
    const good = await entry.inputValue();
    await entry.fill("{topic}");
    await form.getByRole("button", { name: "Save" }).click();
    await form.getByText("This is not JSON", { exact: false }).waitFor();
    await entry.fill(good.replace("plain", "plane"));
    await form.getByRole("button", { name: "Save" }).click();
    await form.getByText("unknown variant `plane`", { exact: false }).waitFor();
    assert.equal(await entry.getAttribute("aria-invalid"), "true");
    assert.match(await entry.inputValue(), /plane/);
    await entry.fill(good);
    await form.getByRole("button", { name: "Save" }).click();
    await page.getByText("Saved here, and in use from the next message on.").waitFor();
  });

  await t.test("added: the dead letter is read again", async () => {
    const rows = page.getByRole("list", { name: "Decoders" }).getByRole("listitem");
    await rows.filter({ hasText: "site/+/+" }).filter({ hasText: "Added here" }).waitFor();
    await page.getByRole("link", { name: "See why, and read them again once the cause is fixed" }).click();
    await page.getByRole("button", { name: "Read again: site/well/depth" }).click();
    await page.getByText("None. Every payload so far could be read.").waitFor();
    await page.getByRole("link", { name: "← Sources and decoders" }).click();
    await attempt("site/well/depth", "31 32 2e 35", "hex");
    await values.getByRole("row", { name: "depth 12.5" }).waitFor();
  });

  assert.equal(await sideways(page), 0, "the page scrolls sideways at 360 px");

  await t.test("removed: only after a second word", async () => {
    await page.getByRole("button", { name: "Remove the decoder of site/+/+" }).click();
    await page.getByRole("button", { name: "Remove it" }).click();
    const rows = page.getByRole("list", { name: "Decoders" }).getByRole("listitem");
    await rows.filter({ hasText: "site/+/+" }).waitFor({ state: "detached" });
    assert.equal(await rows.filter({ hasText: "zigbee2mqtt/#" }).count(), 1, "the configuration's own stays");
  });
});

browserTest("a message that is written at a post is read at HQ", async (t, browser) => {
  const { hq, fields } = await operation(t, "Truck 1");
  const [truck] = fields;
  const atTruck = await openPage(browser, truck, { width: 360, height: 740 });
  await signIn(atTruck);
  const atHq = await openPage(browser, hq);
  await signIn(atHq);
  await go(atHq, "Messages");
  await atHq.getByText("No messages yet.").waitFor();

  await go(atTruck, "Messages");
  await atTruck.getByRole("button", { name: "Send" }).click();
  await atTruck.getByText("A message needs words.").waitFor();
  await atTruck.getByLabel("Message", { exact: true }).fill("The ford is passable again");
  await atTruck.getByLabel("To (optional)", { exact: true }).fill("HQ");
  await atTruck.getByRole("button", { name: "Send" }).click();
  await atTruck.getByText(/Saved here/).waitFor();

  const message = atHq.getByRole("list", { name: "Messages" }).getByRole("listitem");
  await message.filter({ hasText: "The ford is passable again" }).filter({ hasText: "admin to HQ" }).waitFor();
  await message.filter({ hasText: "Truck 1" }).waitFor();
  assert.equal(await sideways(atTruck), 0, "the page scrolls sideways at 360 px");

  await t.test("on a phone what others wrote is on the first screen, and the form a tap away", async () => {
    await go(atTruck, "Resources");
    await go(atTruck, "Messages");
    const words = atTruck.getByText("The ford is passable again");
    await words.waitFor();
    const { y, height } = await words.boundingBox();
    assert.ok(y + height < 740 - 70, `the message ends at ${y + height}`);
    await atTruck.getByRole("button", { name: "Write a message" }).click();
    await atTruck.keyboard.type("Thanks");
    assert.equal(await atTruck.getByLabel("Message", { exact: true }).inputValue(), "Thanks");
  });
});

browserTest("what a sensor told a post is shown at HQ, with who heard it and up to when", async (t, browser) => {
  const { hq, fields } = await operation(t, "Truck 1");
  const [truck] = fields;
  const atTruck = await openPage(browser, truck);
  await signIn(atTruck);
  await approveDevice(atTruck, "river-1");
  await publish(truck, "muster/v1/river-1/level", ...history(6 * HOUR_MS, 5 * MINUTE_MS, "m", () => 3));

  const atHq = await openPage(browser, hq, { width: 360, height: 740 });
  await signIn(atHq);
  await openDevice(atHq, "river-1");
  const channel = atHq.getByRole("button", { name: /^level/ });
  // A quarter of an hour is passed on some seconds after it is over, and then with everything else.
  await channel.filter({ hasText: "Not heard here. Heard by Truck 1" }).waitFor({ timeout: 120_000 });
  await channel.filter({ hasText: "3 m" }).filter({ hasText: "Not current" }).waitFor();
  const chart = atHq.getByRole("region", { name: "Chart of level" });
  await chart.getByRole("img", { name: /over the last 24 hours: lowest 3 m/ }).waitFor();
  await chart.getByRole("listitem").filter({ hasText: "Truck 1: up to" }).waitFor();
  assert.equal(await sideways(atHq), 0, "the page scrolls sideways at 360 px");
});
