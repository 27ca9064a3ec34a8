// A gateway gets an account on the page, signs in with it and is cut off; what it says of a device is marked where it is
// to be doubted; and all of it is in the record of who did what.
import assert from "node:assert/strict";
import mqtt from "mqtt";
import { browserTest, openPage, screenshot, signIn } from "./browser.mjs";
import { operation } from "./nodes.mjs";
import { approveDevice, go, sideways } from "./steps.mjs";
import { until } from "./wait.mjs";

browserTest("a gateway's account is made, used, renewed and removed on the page", async (t, browser) => {
  const { hq } = await operation(t);
  const page = await openPage(browser, hq, { width: 360, height: 740 });
  await signIn(page);
  await approveDevice(page, "river-1");
  await go(page, "Devices");
  await page.getByRole("link", { name: "Sources and decoders" }).click();
  const accounts = page.getByRole("region", { name: "Accounts of gateways" });
  const connect = (password) =>
    mqtt.connectAsync(`mqtt://${hq.addresses.mqtt}`, { username: "lora", password, reconnectPeriod: 0 });
  const shown = accounts.locator("dl").filter({ hasText: "Password" }).locator("dd").last();
  /** The password on the screen, which is taken from it. */
  const noted = async () => {
    const password = await shown.textContent();
    await accounts.getByRole("button", { name: "I have it" }).click();
    assert.equal(await accounts.getByText(password).count(), 0);
    return password;
  };

  await accounts.getByRole("button", { name: "Add an account" }).click();
  const form = page.getByRole("form", { name: "Add an account" });
  await form.getByLabel("Name", { exact: true }).fill("lora");
  await form.getByLabel("May publish", { exact: true }).fill("muster/v1/+/#/level");
  await form.getByRole("button", { name: "Add it" }).click();
  await form.getByText(/expected a topic filter of MQTT/).waitFor();
  await form.getByLabel("May publish", { exact: true }).fill("muster/v1/+/level");
  await form.getByRole("button", { name: "Add it" }).click();
  await shown.waitFor();
  await screenshot(page, "accounts");
  const first = await noted();
  assert.equal(await sideways(page), 0, "the page of sources scrolls sideways at 360 px");

  const gateway = await connect(first);
  let cutOff = false;
  gateway.on("close", () => {
    cutOff = true;
  });
  const at = new Date(Date.now() - 60_000).toISOString();
  for (const v of [3.5, 9.5]) {
    await gateway.publishAsync("muster/v1/river-1/level", JSON.stringify({ v, t: at, u: "m" }), { qos: 1 });
  }
  await accounts.getByRole("button", { name: "New password for lora" }).click();
  await accounts.getByRole("button", { name: "Make it" }).click();
  await shown.waitFor();
  const second = await noted();
  await until("the gateway is cut off", async () => cutOff);
  await assert.rejects(connect(first));
  await (await connect(second)).endAsync();

  await accounts.getByRole("button", { name: "Remove the account lora" }).click();
  await accounts.getByRole("button", { name: "Remove it" }).click();
  await accounts.getByText("The account lora is gone.").waitFor();
  await assert.rejects(connect(second));

  await t.test("two values with one time say so, and each can be looked at", async () => {
    await go(page, "Devices");
    await page.getByRole("link", { name: "river-1", exact: true }).click();
    const chart = page.getByRole("region", { name: "Chart of level" });
    await chart.getByText("1 h", { exact: true }).click();
    await chart.getByTestId("doubted").waitFor();
    await chart.getByText("another value has the same time").first().waitFor();
    const look = chart.getByRole("slider", { name: "Look at a time" });
    await look.press("Home");
    await chart.getByText(/: 3.5 m$/).waitFor();
    await look.press("ArrowRight");
    await chart.getByText(/: 9.5 m$/).waitFor();
    await chart.getByText("Values as a table").click();
    const cells = chart.getByRole("cell").filter({ hasText: "another value has the same time" });
    await cells.first().waitFor();
    assert.equal(await cells.count(), 2);
    await screenshot(page, "contradiction");
    assert.equal(await sideways(page), 0, "the device's page scrolls sideways at 360 px");
  });

  await t.test("who did it is in the record", async () => {
    await page.goto(`${hq.url}/nodes`);
    await page.getByRole("link", { name: "Who did what on this node" }).click();
    const record = page.getByRole("list", { name: "Who did what" });
    await record.getByText("admin removed an account of MQTT").waitFor();
    await record.getByText("admin made a new password for an account of MQTT").waitFor();
    assert.equal(await record.getByText(second).count(), 0, "a password is no part of it");
    await screenshot(page, "audit");
    assert.equal(await sideways(page), 0, "the record scrolls sideways at 360 px");
  });
});
