// The main job, as people see it: a sensor speaks, an incident appears, two posts that cannot hear each other edit it,
// both values are shown, a person chooses, and all nodes agree.
import assert from "node:assert/strict";
import { browserTest, openPage, screenshot, signIn } from "./browser.mjs";
import { agree, cut, heal, operation } from "./nodes.mjs";
import { approveDevice, go, publish } from "./steps.mjs";
import { until } from "./wait.mjs";

async function addRule(page) {
  await go(page, "Rules");
  await page.getByRole("link", { name: "Add a rule" }).click();
  const form = page.getByRole("form", { name: "Add a rule" });
  await form.getByLabel("Name", { exact: true }).fill("River high");
  await form.getByLabel("Device", { exact: true }).fill("river-*");
  await form.getByLabel("Channel", { exact: true }).fill("level");
  await form.getByLabel("Level", { exact: true }).fill("4");
  await form.getByLabel("Back to normal at").fill("3.5");
  await form.getByLabel("Title of the incident").fill("Water at {device} is {value} m");
  await form.getByLabel("Severity", { exact: true }).selectOption("Minor");
  await form.getByLabel("Category").selectOption("Weather and flood");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByRole("heading", { name: "River high" }).waitFor();
}

async function setSeverity(page, severity) {
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  const form = page.getByRole("form", { name: "Edit incident" });
  await form.getByLabel("Severity").selectOption(severity);
  await form.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByText(/Saved here · /).waitFor();
}

browserTest(
  "a reading becomes an incident that is edited apart, conflicts, is settled, and all nodes agree",
  async (t, browser) => {
    const { hq, fields, nodes } = await operation(t, "Truck 1", "Truck 2");
    const [truck] = fields;

    const atTruck = await openPage(browser, truck);
    await signIn(atTruck);
    const atHq = await openPage(browser, hq);
    await signIn(atHq);

    await approveDevice(atTruck, "river-1");
    await addRule(atTruck);
    await go(atTruck, "Incidents");
    await atTruck.getByText("No incidents yet", { exact: false }).waitFor();

    await publish(truck, "muster/v1/river-1/level", 3.9, 4.7);

    // Both lists are open already: it must appear by itself.
    const incident = (page) => page.getByRole("list", { name: "Incidents" }).getByRole("link", { name: /river-1/ });
    await incident(atTruck).waitFor();
    await incident(atHq).waitFor();
    await screenshot(atTruck, "incidents");
    await incident(atTruck).click();
    await incident(atHq).click();
    await atTruck.getByText("Water at river-1 is 4.7 m").first().waitFor();
    await atTruck.getByRole("link", { name: "river-1 · level" }).click();
    await atTruck.getByRole("img", { name: /level of river-1 .* highest 4.7 at/ }).waitFor();
    await atTruck.goBack();
    await agree(nodes);

    await t.test("edits made while the link is down stay where they were made", async () => {
      cut(nodes);
      await setSeverity(atTruck, "Extreme");
      await setSeverity(atHq, "Moderate");
      await atTruck.getByText(/Saved here · waiting for/).waitFor();
      await until("the relays hold something back", () => nodes.some(({ relay }) => relay.dropped > 0));
      const here = await truck.status();
      const there = await hq.status();
      assert.notEqual(here.heads_digest, there.heads_digest);
      assert.equal(await atTruck.getByText("Two values for", { exact: false }).count(), 0);
    });

    const conflict = (page) => page.getByRole("region", { name: "Two values for “Severity”" });

    await t.test("when it returns both values are shown, each with its author and node", async () => {
      heal(nodes);
      for (const page of [atTruck, atHq]) {
        await conflict(page).waitFor({ timeout: 120_000 });
        const values = conflict(page).getByRole("listitem");
        await values.filter({ hasText: "Extreme" }).filter({ hasText: "admin at Truck 1" }).waitFor();
        await values.filter({ hasText: "Moderate" }).filter({ hasText: "admin at HQ" }).waitFor();
      }
      await screenshot(atHq, "conflict");
      await go(atHq, "Conflicts");
      await conflict(atHq)
        .getByRole("link", { name: /^Open the incident/ })
        .click();
    });

    await t.test("one is chosen at HQ and stands on every node", async () => {
      await conflict(atHq).getByRole("button", { name: "Choose “Extreme”" }).click();
      for (const page of [atTruck, atHq]) {
        await conflict(page).waitFor({ state: "detached", timeout: 120_000 });
        await page.getByRole("article").getByText("Extreme").first().waitFor();
      }
      await agree(nodes);
      const history = atTruck.getByRole("region", { name: "History" }).getByRole("listitem");
      await history.filter({ hasText: "admin at Truck 1" }).filter({ hasText: "Severity → Extreme" }).waitFor();
      await until("both steps of HQ are in the history", async () => {
        const steps = await history.filter({ hasText: "admin at HQ" }).count();
        return steps === 2;
      });
      await history.filter({ hasText: "a sensor rule at Truck 1" }).filter({ hasText: "Sensor" }).first().waitFor();
      const [, other] = fields;
      const atOther = await openPage(browser, other);
      await signIn(atOther);
      await incident(atOther).filter({ hasText: "Extreme" }).waitFor();
      await go(atOther, "Conflicts");
      await atOther.getByText("Everybody agrees", { exact: false }).waitFor();
    });
  },
);
