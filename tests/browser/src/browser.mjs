// Chromium for the tests, and the way through the page that every test begins with.
import { accessSync, appendFileSync, constants } from "node:fs";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { PASSWORD } from "./nodes.mjs";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const args = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** Debug builds on a loaded machine; a page that takes this long is a failure all the same. */
const PAGE_MS_MAX = 30_000;
const TEST_MS_MAX = 600_000;

function missing() {
  try {
    accessSync(executablePath, constants.X_OK);
    return false;
  } catch {
    return true;
  }
}

/** A test that needs Chromium. Without it the test is skipped and named in MUSTER_SKIP_LOG; with CI=true it fails. */
export function browserTest(name, body) {
  test(name, { timeout: TEST_MS_MAX }, async (t) => {
    if (missing()) {
      if (process.env.CI === "true") {
        throw new Error(`there is no Chromium at ${executablePath}: apt-get install chromium, or set CHROMIUM`);
      }
      if (process.env.MUSTER_SKIP_LOG) appendFileSync(process.env.MUSTER_SKIP_LOG, `SKIPPED-TOOL chromium ${name}\n`);
      t.skip(`no Chromium at ${executablePath} (apt-get install chromium)`);
      return;
    }
    const browser = await chromium.launch({ executablePath, args });
    t.after(() => browser.close());
    await body(t, browser);
  });
}

/** A person at a node's page. An error that the page does not catch fails the test. */
export async function openPage(browser, node, viewport = { width: 1280, height: 900 }) {
  // One context a node: browsers share cookies between the ports of one host.
  const context = await browser.newContext({ viewport });
  const page = await context.newPage();
  page.setDefaultTimeout(PAGE_MS_MAX);
  page.on("pageerror", (error) => {
    throw new Error(`the page of ${node.name} failed: ${error.message}`);
  });
  await page.goto(node.url);
  return page;
}

/** Users replicate: on a node that has just joined the first try may come before the user does. */
export async function signIn(page) {
  const incidents = page.getByRole("heading", { name: "Incidents", level: 1 });
  const refused = page.getByRole("alert").filter({ hasText: "wrong" });
  for (let attempt = 1; attempt <= 10; attempt += 1) {
    await page.getByLabel("User name").fill("admin");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).click();
    const outcome = await Promise.race([incidents.waitFor().then(() => "in"), refused.waitFor().then(() => "refused")]);
    if (outcome === "in") return;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  throw new Error("the user of the operation never became known to this node");
}

/** For the README and for looking at: written only where MUSTER_SCREENSHOTS names a folder. */
export async function screenshot(page, name) {
  const folder = process.env.MUSTER_SCREENSHOTS;
  if (!folder) return;
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.screenshot({ path: `${folder}/${name}.png` });
}
