// What nobody could read: told of in the head of every page, found by its kind, read again or given up all at once.
import assert from "node:assert/strict";
import { browserTest, openPage, screenshot, signIn } from "./browser.mjs";
import { operation } from "./nodes.mjs";
import { administrator, go, publish, sideways } from "./steps.mjs";

/** From so many on the node warns. */
const MANY = 100;

const letters = (page) => page.getByRole("list", { name: "Payloads that nobody could read" }).getByRole("listitem");
const words = (many) => Array.from({ length: many }, () => "wet");

async function openLetters(page) {
  await go(page, "Devices");
  await page.getByRole("link", { name: "6 payloads could not be read" }).click();
  await page.getByRole("heading", { name: "Payloads that nobody could read", level: 1 }).waitFor();
}

browserTest("dead letters are found by their kind, and read again or given up all at once", async (t, browser) => {
  const { hq } = await operation(t);
  const page = await openPage(browser, hq);
  await signIn(page);
  await publish(hq, "muster/v1/gauge/level", ...words(3));
  await publish(hq, "site/well/depth", "12.5", "12.6");
  await publish(hq, "site/pump/rate", "7");
  await openLetters(page);
  await letters(page).nth(5).waitFor();
  const topic = page.getByLabel("Part of the topic");
  const reason = page.getByLabel("Reason");

  await t.test("found by topic and reason, which the address keeps", async () => {
    await reason.fill("Unknown topic");
    await letters(page).nth(3).waitFor({ state: "detached" });
    assert.equal(await letters(page).filter({ hasText: "site/" }).count(), 3);
    await topic.fill("WELL");
    await letters(page).nth(2).waitFor({ state: "detached" });
    await page.reload();
    await letters(page).nth(1).waitFor();
    assert.equal(await letters(page).filter({ hasText: "site/well/depth" }).count(), 2);
    assert.equal(await topic.inputValue(), "WELL");
    assert.equal(await reason.inputValue(), "Unknown topic");
  });

  await t.test("one that comes meanwhile is there by itself, if it is of that kind", async () => {
    await publish(hq, "muster/v1/gauge/level", "wet");
    await publish(hq, "site/well/depth", "12.7");
    await letters(page).nth(2).waitFor();
    assert.equal(await letters(page).count(), 3);
  });

  await t.test("read again together: first in vain, then with a decoder, and the others are let be", async () => {
    const again = page.getByRole("button", { name: "Read all of these again" });
    await again.click();
    await page.getByText("0 were read, 3 still cannot be.").waitFor();
    await letters(page).filter({ hasText: "2 attempts" }).nth(2).waitFor();
    const admin = await administrator(hq);
    const { version } = await admin("GET", "/v1/decoders");
    const entry = { topic: "site/+/+", format: "plain", device: "{2}", channel: "{3}" };
    await admin("PUT", "/v1/decoders", { items: [entry] }, { "if-match": `"${version}"` });
    await again.click();
    await page.getByText("3 were read, 0 still cannot be.").waitFor();
    await page.getByText("None of this kind.").waitFor();
    await topic.fill("");
    await reason.fill("");
    await letters(page).nth(4).waitFor();
    assert.equal(await letters(page).filter({ hasText: "site/pump/rate" }).count(), 1);
  });

  await t.test("given up together after a second word: those of the filter, then all", async () => {
    await topic.fill("pump");
    await letters(page).nth(1).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Discard all of these" }).click();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Discard all of these" }).click();
    await page.getByRole("alert").getByRole("button", { name: "Discard all of these" }).click();
    await page.getByText("1 were discarded.").waitFor();
    await topic.fill("");
    await letters(page).nth(3).waitFor();
    await page.getByRole("button", { name: "Discard all", exact: true }).click();
    await page.getByRole("alert").getByRole("button", { name: "Discard all", exact: true }).click();
    await page.getByText("4 were discarded.").waitFor();
    await page.getByText("None. Every payload so far could be read.").waitFor();
  });
});

browserTest("what somebody should look after is said on every page and moves none of it", async (t, browser) => {
  const { hq } = await operation(t);
  const page = await openPage(browser, hq, { width: 360, height: 740 });
  await signIn(page);
  await page.getByText("No other node known").waitFor();
  const head = page.getByRole("banner");
  const warning = head.getByRole("button", { name: "1 thing to look after at this node" });
  const heightBefore = (await head.boundingBox()).height;
  assert.equal(await warning.count(), 0);

  await t.test("on a phone it takes no line of its own", async () => {
    await publish(hq, "muster/v1/gauge/level", ...words(MANY));
    await warning.waitFor();
    assert.equal((await head.boundingBox()).height, heightBefore);
    assert.equal(await sideways(page), 0, "the page scrolls sideways at 360 px");
    await screenshot(page, "warning-phone");
  });

  await t.test("the keyboard opens it, and it leads to where it can be dealt with", async () => {
    const top = async () => (await page.getByRole("heading", { name: "Incidents", level: 1 }).boundingBox()).y;
    const topBefore = await top();
    await warning.focus();
    await page.keyboard.press("Enter");
    const sentence = page.getByRole("listitem").filter({ hasText: "100 messages of sensors could not be read." });
    await sentence.waitFor();
    assert.equal(await top(), topBefore);
    await screenshot(page, "warning-phone-open");
    await page.keyboard.press("Escape");
    await sentence.waitFor({ state: "hidden" });
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Payloads that nobody could read", level: 1 }).waitFor();
    await sentence.waitFor({ state: "hidden" });
    await letters(page).first().waitFor();
    assert.equal(await sideways(page), 0, "the page scrolls sideways at 360 px");
    await screenshot(page, "dead-letters-phone");
  });

  await t.test("it is gone when nothing is to be looked after", async () => {
    await page.getByRole("button", { name: "Discard all", exact: true }).click();
    await page.getByRole("alert").getByRole("button", { name: "Discard all", exact: true }).click();
    await page.getByText("100 were discarded.").waitFor();
    await warning.waitFor({ state: "detached" });
  });
});
