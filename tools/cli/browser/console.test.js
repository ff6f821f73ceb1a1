"use strict";
// Tests `teardown console`, on the table of a `teardown dev`.

const assert = require("node:assert/strict");
const { after, before, describe, test } = require("node:test");
const { checkViews, image, launch, openPage, startConsole, startDev, status, until } = require("./browser.js");

let browser, dev, desk;

const now = () => Math.floor(Date.now() / 1000);
const s = (S) => ({ S });
const n = (N) => ({ N: `${N}` });

/** Writes the item of a job that a worker has tried 7 times. */
async function job(id, what, more) {
  const by = { M: { kind: s("user"), accountId: s("acc_local"), userId: s("user_1"), role: s("ADMIN") } };
  await dev.dynamodb("PutItem", {
    Item: {
      ...dev.key(id, `work#${what}`), kind: s(what.split("#")[0]), installationId: s(id), attempts: n(7),
      fence: n(1), deletedAt: n(now() - 86_400 * 4), deletedBy: by, ...more,
    },
  });
}

async function press(page, button) {
  await page.evaluate(() => document.querySelector("#message").replaceChildren());
  await page.click(button);
  await page.waitForFunction(() => document.querySelector("#message").textContent.trim() !== "");
  return (await page.textContent("#message")).trim();
}

describe("the console", () => {
  before(async () => {
    dev = await startDev({ GRACE_PERIOD: "7d" });
    desk = await startConsole(dev);
    browser = await launch();
    const token = (await dev.tool("token", "--installation", "icfg_open1")).stdout.trim();
    const headers = { authorization: `Bearer ${token}` };
    await fetch(`${dev.url}/v1/installations/icfg_open1`, { method: "DELETE", headers, body: JSON.stringify({ reason: "too expensive" }) });
    await until("purged", async () => (await dev.item("icfg_open1", "#installation")).state.S === "purged");
  });
  after(async () => {
    await browser?.close();
    desk?.stop();
    dev?.stop();
  });

  test("where nothing needs anybody, it says so", async () => {
    const { page, done } = await openPage(browser, desk.url);
    assert.match(await page.textContent("#attention"), /Nothing needs you/);
    await done();
  });

  test("what needs somebody comes first, and each act asks for a reason", async () => {
    // No sweep claims these jobs: the finalization is due later, and the purge is parked.
    await job("icfg_late1", "finalize", { dueShard: s("0"), dueAt: n(now() + 600), lastError: s("Vercel answered 500") });
    await job("icfg_parked1", "purge", { dueShard: s("parked"), dueAt: n(now() - 60), lastError: s("<img src=x onerror=alert(1)>") });
    await dev.tool("hold", "icfg_open1", "db_1", "--reason", "ticket 42");
    const { page, done } = await openPage(browser, desk.url);
    const text = await page.textContent("#attention");
    assert.match(text, /icfg_parked1\s+purge\s+parked\s+since/);
    assert.match(text, /<img src=x onerror=alert\(1\)>/);
    assert.match(text, /icfg_late1\s+over\s+since/);
    assert.match(text, /icfg_open1\s+db_1\s+held\s+since .* by olga: ticket 42/);
    await checkViews(page, "console-attention");
    await page.locator("#attention summary", { hasText: "Retry" }).click();
    await page.click("#attention details[open] button");
    assert.equal(await page.locator("#attention :invalid[name=reason]").count() > 0, true, "a reason is required");
    await page.fill("#attention details[open] [name=reason]", "fixed");
    assert.match(await press(page, "#attention details[open] button"), /purge of icfg_parked1 is due again/);
    await until("no longer parked", async () => !/icfg_parked1\s+purge\s+parked/.test(await page.textContent("#attention")));
    const retried = await dev.item("icfg_parked1", "work#purge");
    if (retried) assert.equal(retried.retryReason.S, "fixed");
    await page.locator("#attention summary", { hasText: "Release" }).click();
    await page.fill("#attention details[open] [name=reason]", "the customer confirmed");
    assert.match(await press(page, "#attention details[open] button"), /db_1 of icfg_open1 is released/);
    assert.equal((await dev.item("icfg_open1", "hold#resource#db_1")).releaseReason.S, "the customer confirmed");
    await done();
  });

  test("a job that nobody takes hangs", async () => {
    const { page, done } = await openPage(browser, desk.url);
    // The job has a lease for another hour, so the sweep of `teardown dev` does not claim the job.
    await job("icfg_hanging1", "purge", { dueShard: s("3"), dueAt: n(now() - 3600), leaseUntil: n(now() + 3600) });
    await page.reload();
    assert.match(await page.textContent("#attention"), /icfg_hanging1\s+work#purge\s+due\s+since/);
    await done();
  });

  test("an installation is found by its id, with its story in the order of time", async () => {
    const { page, done } = await openPage(browser, desk.url);
    await page.fill("[role=search] input", " icfg_open1 ");
    await page.keyboard.press("Enter");
    await page.waitForURL(/installation\?installation=icfg_open1/);
    const story = await page.textContent("#story");
    assert.match(story, /installation was deleted\s+by user user_local \(ADMIN\) of acc_local: too expensive/);
    assert.match(story, /To come[^]*due: the finalization at Vercel/);
    const times = await page.locator("#story > ol.list time:not(.countdown)").evaluateAll((all) => all.map((it) => it.dateTime));
    assert.deepEqual(times, [...times].sort());
    assert.ok(times.length > 4);
    assert.match(await page.textContent("#jobs"), /tells the provider to tear it down\s+due in 6 d 23 h/);
    assert.equal(await page.locator("button", { hasText: /^(Delete|Uninstall)/ }).count(), 0, "it never calls as Vercel");
    await checkViews(page, "console-installation");
    await image(browser, page.url(), "console");
    await page.fill("[role=search] input", "icfg_open1/db_2");
    await page.click("[role=search] button");
    await page.waitForURL(/resource=db_2/);
    assert.match(await page.textContent("#story"), /Story of db_2/);
    await page.fill("[role=search] input", "<script>alert(1)</script>");
    await page.click("[role=search] button");
    await page.locator("text=No such id").waitFor();
    await done();
  });

  test("hold, keep, release and settle are in the table with by whom and why", async () => {
    const { page, done } = await openPage(browser, `${desk.url}installation?installation=icfg_open1`);
    const act = async (details, reason) => {
      await page.locator(`[id='${details}'] summary`).click();
      await page.fill(`[id='${details}'] [name=reason]`, reason);
      return press(page, `[id='${details}'] button`);
    };
    assert.match(await act("hold-all", "ticket 43"), /icfg_open1 is held, in time/);
    assert.equal((await dev.item("icfg_open1", "hold#installation")).reason.S, "ticket 43");
    await until("shown", async () => /ticket 43/.test(await page.textContent("#holds")));
    assert.match(await act("keep-db_2", "they came back"), /db_2 of icfg_open1 is kept/);
    assert.equal((await dev.item("icfg_open1", "receipt#resource#db_2")).kept.M.by.S, "olga");
    await until("in the story", async () => /db_2 was kept/.test(await page.textContent("#story")));
    assert.match(await act("release-all of it", "the rest may go"), /icfg_open1 is released/);
    assert.match(await act("settle", "paid"), /its finalization is due now/);
    assert.equal((await dev.item("icfg_open1", "#installation")).settleReason.S, "paid");
    await done();
  });

  test("without its secret, from another site or by another name, nothing is to be had", async () => {
    const { origin, host, port, pathname } = new URL(desk.url);
    const form = { method: "POST", body: "act=settle&installation=icfg_settled1&reason=forged" };
    const type = { "content-type": "application/x-www-form-urlencoded" };
    for (const place of ["/", "/attention", `${pathname.slice(0, -2)}/`, "/page.css"]) {
      assert.equal(await status(`${origin}${place}`), 404, place);
    }
    for (const headers of [{ host: `evil.example:${port}` }, { origin: "https://evil.example" }]) {
      assert.equal(await status(desk.url, { headers }), 403, JSON.stringify(headers));
    }
    for (const headers of [{}, { origin: "https://evil.example" }, { origin: dev.url }]) {
      const posted = await status(`${desk.url}operate`, { ...form, headers: { ...type, ...headers } });
      assert.equal(posted, 403, JSON.stringify(headers));
    }
    const blank = { ...form, body: "act=settle&installation=icfg_settled1&reason=+", headers: { ...type, origin: `http://${host}` } };
    assert.equal(await status(`${desk.url}operate`, blank), 200);
    assert.equal((await dev.item("icfg_settled1", "#installation")).settleReason, undefined);
    assert.equal(await status(`${desk.url}act`, { ...blank }), 404, "there is nothing to call as Vercel with");
  });
});
