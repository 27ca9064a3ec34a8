// A node loses power under the hands of somebody who is typing.
import assert from "node:assert/strict";
import { browserTest, openPage, signIn } from "./browser.mjs";
import { operation } from "./nodes.mjs";

browserTest("what is typed survives a power cut of the node and is saved once afterwards", async (t, browser) => {
  const { hq } = await operation(t);
  const page = await openPage(browser, hq, { width: 360, height: 740 });
  await signIn(page);
  await page.getByRole("link", { name: "Report an incident" }).click();
  await page.getByLabel("Title").fill("Bridge at the mill is moving");
  await page.getByLabel("Severity").selectOption("Severe");

  await hq.kill();
  const banner = page.getByRole("alert").filter({ hasText: "This page cannot reach its node" });
  await banner.waitFor();
  await page.getByRole("button", { name: "Report", exact: true }).click();
  await page.getByRole("alert").filter({ hasText: "The node did not answer" }).waitFor();
  assert.equal(await page.getByLabel("Title").inputValue(), "Bridge at the mill is moving");

  await hq.start();
  await banner.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Report", exact: true }).click();
  await page.getByText(/Saved here · /).waitFor();
  await page.getByRole("link", { name: "All incidents" }).click();
  const rows = page.getByRole("list", { name: "Incidents" }).getByRole("listitem");
  await rows.first().waitFor();
  assert.equal(await rows.count(), 1);

  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.equal(overflow, 0, "the page scrolls sideways at 360 px");
});
