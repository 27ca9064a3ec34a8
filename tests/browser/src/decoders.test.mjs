// The list of decoders is written as a whole: what others add, and what is not loaded yet, must outlive a person's edit.
import assert from "node:assert/strict";
import { browserTest, openPage, signIn } from "./browser.mjs";
import { operation } from "./nodes.mjs";
import { administrator, go } from "./steps.mjs";

const tasmota = (topic) => ({ topic, format: "tasmota" });
const DECODERS = "**/v1/decoders";

async function openSources(page) {
  await signIn(page);
  await go(page, "Devices");
  await page.getByRole("link", { name: "Sources and decoders" }).click();
}

/** Another administrator's program, and what it reads of the decoders that were added. */
async function administratorOf(node) {
  const api = await administrator(node);
  const list = () => api("GET", "/v1/decoders");
  return {
    topics: async () => (await list()).items.filter(({ origin }) => origin === "api").map(({ topic }) => topic),
    put: async (...topics) => {
      const { version } = await list();
      await api("PUT", "/v1/decoders", { items: topics.map(tasmota) }, { "if-match": `"${version}"` });
    },
  };
}

const row = (page, topic) =>
  page.getByRole("list", { name: "Decoders" }).getByRole("listitem").filter({ hasText: topic });

browserTest("an edit of a decoder changes that one and no other, whoever else changes the list", async (t, browser) => {
  const { hq } = await operation(t);
  const other = await administratorOf(hq);
  await other.put("a/#", "b/#", "c/#");
  const page = await openPage(browser, hq);
  await openSources(page);
  const form = page.getByRole("form", { name: "Edit a decoder" });
  const entry = form.getByLabel("Entry (JSON)");
  const retopic = async (from, to) => entry.fill((await entry.inputValue()).replace(from, to));
  const save = () => form.getByRole("button", { name: "Save", exact: true }).click();

  await t.test("a draft that outlived a reload can be saved only when the list is there", async () => {
    await page.getByRole("button", { name: "Edit the decoder of b/#" }).click();
    await retopic("b/#", "b2/#");
    let answer;
    const held = new Promise((resolve) => {
      answer = resolve;
    });
    await page.route(DECODERS, async (route) => {
      await held;
      await route.continue();
    });
    await page.reload();
    const card = page.getByRole("region", { name: "Decoders", exact: true });
    await card.getByText("Loading…").waitFor();
    assert.equal(await form.count(), 0);
    answer();
    await entry.waitFor();
    await page.unroute(DECODERS);
    assert.match(await entry.inputValue(), /b2\/#/);
    await save();
    await page.getByText("Saved here, and in use from the next message on.").waitFor();
    assert.deepEqual(await other.topics(), ["a/#", "b2/#", "c/#"]);
  });

  await t.test("one that has moved in the list is changed where it stands now", async () => {
    await page.getByRole("button", { name: "Edit the decoder of c/#" }).click();
    await retopic("c/#", "c2/#");
    await other.put("b2/#", "c/#", "d/#");
    await row(page, "d/#").waitFor();
    await save();
    await row(page, "c2/#").waitFor();
    assert.deepEqual(await other.topics(), ["b2/#", "c2/#", "d/#"]);
  });

  await t.test("what was added a moment ago is not taken away: the page says so and saves on top of it", async () => {
    await page.getByRole("button", { name: "Edit the decoder of d/#" }).click();
    await retopic("d/#", "d2/#");
    // The page has not heard of it when it saves.
    await page.route(DECODERS, (route) => (route.request().method() === "GET" ? route.abort() : route.continue()));
    await other.put("b2/#", "c2/#", "d/#", "e/#");
    await save();
    await form.getByText("Somebody else has changed it in the meantime. Nothing was saved.").waitFor();
    await page.unroute(DECODERS);
    await row(page, "e/#").waitFor();
    await save();
    await row(page, "d2/#").waitFor();
    assert.deepEqual(await other.topics(), ["b2/#", "c2/#", "d2/#", "e/#"]);
  });

  await t.test("one that is gone is said to be gone, and what was typed can be added", async () => {
    await page.getByRole("button", { name: "Edit the decoder of d2/#" }).click();
    await retopic("d2/#", "d3/#");
    await other.put("b2/#");
    await form.getByText("was changed or removed by somebody else").waitFor();
    await form.getByRole("button", { name: "Add as another decoder" }).click();
    await row(page, "d3/#").waitFor();
    assert.deepEqual(await other.topics(), ["b2/#", "d3/#"]);
  });

  await t.test("one whose answer was lost is saved again, and is there once", async () => {
    await page.getByRole("button", { name: "Add a decoder" }).click();
    const adding = page.getByRole("form", { name: "Add a decoder" });
    await adding.getByLabel("Entry (JSON)").fill(JSON.stringify(tasmota("f/#")));
    await page.route(DECODERS, async (route) => {
      if (route.request().method() !== "PUT") return route.continue();
      await route.fetch();
      return route.abort();
    });
    await adding.getByRole("button", { name: "Save", exact: true }).click();
    await adding.getByText("The node did not answer, so it may not be saved.").waitFor();
    await page.unroute(DECODERS);
    await row(page, "f/#").waitFor();
    await adding.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText("Saved here, and in use from the next message on.").waitFor();
    assert.deepEqual(await other.topics(), ["b2/#", "d3/#", "f/#"]);
  });
});
