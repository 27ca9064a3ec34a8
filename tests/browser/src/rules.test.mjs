// Rules of every kind, as a person writes them: tried on the past, read as a sentence, edited, deleted, brought back.
import assert from "node:assert/strict";
import { browserTest, openPage, signIn } from "./browser.mjs";
import { operation } from "./nodes.mjs";
import { approveDevice, go, HOUR_MS, history, MINUTE_MS, publish, sideways } from "./steps.mjs";

const label = (form, name) => form.getByLabel(name, { exact: true });

/** Fills what every kind has, and what `fields` names, in the order of the form. */
async function writeRule(page, { kind, name, device, channel, fields = {}, choices = {} }) {
  await go(page, "Rules");
  await page.getByRole("link", { name: "Add a rule" }).click();
  const form = page.getByRole("form", { name: "Add a rule" });
  await label(form, "What to look for").selectOption(kind);
  await label(form, "Name").fill(name);
  if (device) await label(form, "Device").fill(device);
  if (channel) await label(form, "Channel").fill(channel);
  for (const [field, value] of Object.entries(choices)) await label(form, field).selectOption(value);
  for (const [field, value] of Object.entries(fields)) await label(form, field).fill(value);
  return form;
}

const KINDS = [
  {
    kind: "threshold",
    name: "River high",
    device: "river-*",
    channel: "level",
    fields: { Level: "4", "Back to normal at": "3.5", "Title of the incident": "Water at {device} is {value} m" },
    says: "When level of river-* is above 4 m, opens “Water at {device} is {value} m”. Normal again: below 3.5 m.",
  },
  {
    kind: "rate",
    name: "River falls",
    device: "river-1",
    channel: "level",
    choices: { "When the value": "below" },
    fields: { Level: "0.5", "Back to normal at": "0.1", "Title of the incident": "Falling" },
    says: "When level of river-1 falls by more than 0.5 m within 15 min, opens “Falling”. Normal again: it falls by less than 0.1 m.",
  },
  {
    kind: "no_data",
    name: "Gauge silent",
    device: "river-*",
    fields: { "Silent for": "45", "Title of the incident": "{device} is silent" },
    says: "When nothing is heard of river-* for 45 min, opens “{device} is silent”. Normal again: a value comes.",
  },
  {
    kind: "deviation",
    name: "River unusual",
    device: "river-1",
    channel: "level",
    choices: { "When the value": "either" },
    fields: {
      Level: "8",
      "Back to normal at": "4",
      "Normal is learned from": "6",
      "Smallest spread that counts": "0.05",
      "Title of the incident": "Unusual",
    },
    says: "When level of river-1 is more than 8 spreads away from its normal of the last 6 min, opens “Unusual”. Normal again: less than 4.",
  },
  {
    kind: "sta_lta",
    name: "Shaking",
    device: "geo-*",
    channel: "Z",
    fields: { Level: "4", "Back to normal at": "1.5", "Title of the incident": "Shaking at {device}" },
    says: "When the shaking in Z of geo-* is above 4 times its background (1 s against 30 s), opens “Shaking at {device}”. Normal again: below 1.5 times.",
  },
];

browserTest("a rule of each kind is written and said in a sentence", async (t, browser) => {
  const { hq } = await operation(t);
  const page = await openPage(browser, hq);
  await signIn(page);
  await approveDevice(page, "river-1");
  // High three times: 20, 12 and 4 hours ago, an hour each.
  const high = [20, 12, 4];
  const level = (ageMs) => (high.some((hours) => ageMs <= hours * HOUR_MS && ageMs > (hours - 1) * HOUR_MS) ? 4.5 : 3);
  await publish(hq, "muster/v1/river-1/level", ...history(24 * HOUR_MS, 5 * MINUTE_MS, "m", level));

  for (const rule of KINDS) {
    await t.test(rule.kind, async () => {
      const form = await writeRule(page, rule);
      await form.getByText(rule.says).waitFor();
      await form.getByRole("button", { name: "Add", exact: true }).click();
      await page.getByRole("heading", { name: rule.name, level: 1 }).waitFor();
      await page.getByText(rule.says).waitFor();
      await page.getByText(/Saved here/).waitFor();
    });
  }

  await t.test("expression: each example is one that the node takes, and a formula that is not says why", async () => {
    const form = await writeRule(page, { kind: "expression", name: "Air", device: "air-*" });
    const examples = await form.getByRole("region", { name: "Start from an example" }).getByRole("button").all();
    assert.ok(examples.length >= 3);
    for (const example of examples) {
      await label(form, "Device").fill("");
      await example.click();
      if ((await label(form, "Device").inputValue()) === "") await label(form, "Device").fill("air-*");
      await form.getByRole("button", { name: "Test run" }).click();
      await form.getByText("No channel that was heard here has such names", { exact: false }).waitFor();
    }
    await label(form, "Device").fill("air-*");
    await examples[0].click();
    await label(form, "Formula").fill("aqi + wind");
    await form.getByRole("button", { name: "Add", exact: true }).click();
    await form.getByText("wind is neither an input nor a function", { exact: false }).waitFor();
    assert.equal(await label(form, "Formula").getAttribute("aria-invalid"), "true");
    await label(form, "Formula").fill("aqi");
    await form.getByRole("button", { name: "Add", exact: true }).click();
    await page.getByRole("heading", { name: "Air", level: 1 }).waitFor();
    await page.getByText("aqi is the air quality index of PM2.5 (NowCast) of pm2_5", { exact: false }).waitFor();
  });

  await t.test("a test run says how often it would have fired, and when", async () => {
    await go(page, "Rules");
    const rows = page.getByRole("list", { name: "Rules" }).getByRole("listitem");
    await rows.filter({ hasText: "Air" }).waitFor();
    assert.equal(await rows.count(), KINDS.length + 1);
    await page.getByRole("link", { name: "River high" }).click();
    // What came before the rule was written is not evaluated.
    await publish(hq, "muster/v1/river-1/level", { v: 3, u: "m" });
    const now = page.getByRole("region", { name: "What it sees now" }).getByRole("listitem");
    await now.filter({ hasText: "river-1 · level" }).getByText("3 m", { exact: true }).waitFor();
    await now.getByText("Normal", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Test run" }).click();
    // Nobody had approved the device before it was heard: the readings came after.
    await page.getByText("Would have fired 3 times in the last week.").waitFor();
    const firings = page.getByRole("list", { name: "When it would have fired" }).getByRole("listitem");
    assert.equal(await firings.count(), 3);
    await firings.first().getByText("peak 4.5", { exact: false }).waitFor();
    await page.getByRole("img", { name: /^level of river-1 in the last week: between 3 and 4.5, raises at 4, ends at 3.5$/ }).waitFor();
    assert.equal(await page.getByTestId("level").count(), 2);
    await page.getByLabel("Over the last").selectOption("day");
    await page.getByRole("button", { name: "Test run" }).click();
    await page.getByText("in the last day", { exact: false }).waitFor();
  });

  await t.test("an edit adds a time of silence and a graver level, and takes them away again", async () => {
    await page.getByRole("button", { name: "Edit", exact: true }).click();
    const form = page.getByRole("form", { name: "Edit rule" });
    await form.getByRole("button", { name: "Add a time of silence" }).click();
    await label(form, "Offset from UTC").fill("CET");
    await form.getByLabel("Sat", { exact: true }).check();
    await form.getByRole("button", { name: "Add a level" }).click();
    await label(form, "From level 1").fill("5");
    await label(form, "Severity from level 1").selectOption("Extreme");
    await form.getByRole("button", { name: "Save", exact: true }).click();
    await form.getByText("An offset as +01:00", { exact: false }).waitFor();
    await label(form, "Offset from UTC").fill("+05:45");
    await form.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText("Raises nothing Sat from 22:00 to 06:00 (+05:45).").waitFor();
    await page.getByText("Extreme from 5 on.").waitFor();

    await page.getByRole("button", { name: "Edit", exact: true }).click();
    await form.getByRole("button", { name: "Remove time of silence 1" }).click();
    await form.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText(/^Raises nothing Sat/).waitFor({ state: "detached" });
    await page.getByText("Extreme from 5 on.").waitFor();
  });

  await t.test("it is switched off, deleted, and brought back as it was", async () => {
    await page.getByRole("button", { name: "Switch off River high" }).click();
    await page.getByRole("button", { name: "Switch on River high" }).waitFor();
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByRole("button", { name: "Delete it" }).click();
    await page.getByText("This rule is deleted", { exact: false }).waitFor();
    await page.getByRole("button", { name: "Bring it back" }).click();
    await page.getByRole("button", { name: "Switch on River high" }).waitFor();
    await page.getByText("Extreme from 5 on.").waitFor();
  });

  await t.test("nothing of it scrolls sideways on a phone", async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    assert.equal(await sideways(page), 0, "the rule's page");
    await page.getByRole("button", { name: "Edit", exact: true }).click();
    await page.getByRole("form", { name: "Edit rule" }).waitFor();
    assert.equal(await sideways(page), 0, "its form");
    await page.getByRole("button", { name: "Discard my edit" }).click();
    await go(page, "Rules");
    await page.getByRole("list", { name: "Rules" }).waitFor();
    assert.equal(await sideways(page), 0, "the list");
  });
});
