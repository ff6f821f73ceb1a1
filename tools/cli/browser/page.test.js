"use strict";
// Tests the page of `teardown dev`. After a test presses a button, it looks in the table for the result.

const assert = require("node:assert/strict");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { after, before, describe, test } = require("node:test");
const { checkViews, image, launch, openPage, startDev, status, until } = require("./browser.js");

const LIVE_MS = 200;
const MANY = 10_000;

let browser, dev;

/** Makes an installation with the page's button, waits for its resources, and returns its id. */
async function make(page, { billing = "settled", resources = "3" } = {}) {
  await page.goto(dev.url);
  await page.selectOption("#make [name=billing]", billing);
  await page.selectOption("#make [name=resources]", resources);
  await Promise.all([page.waitForURL(/installation=icfg_made/), page.click("#make button")]);
  const id = new URL(page.url()).searchParams.get("installation");
  await connected(page);
  await until(`${resources} resources`, async () =>
    (await dev.item(id, "#installation"))?.resources.N === resources, 120_000);
  return id;
}

/** Waits until the page is connected to the stream of events. */
const connected = (page) =>
  page.waitForFunction(() => document.querySelector("#live")._htmx?.sse?.status === 200);

/** Chooses on the page how it sends requests: the caller, the key, and how many times. */
async function sendAs(page, { caller = "admin", key = "new", times = "1" }) {
  await page.selectOption("#sender [name=caller]", caller);
  await page.selectOption("#sender [name=key]", key);
  await page.selectOption("#sender [name=times]", times);
}

/** Presses a button, and returns the page's message about the result. */
async function press(page, button) {
  await page.evaluate(() => document.querySelector("#message").replaceChildren());
  await page.click(button);
  await page.waitForFunction(() => document.querySelector("#message").textContent.trim() !== "", null, { timeout: 70_000 });
  return (await page.textContent("#message")).trim();
}

const uninstall = "#uninstall button";
const configuration = "button:text-is('Delete the configuration')";
const remove = (id) => `#resources button[aria-label="Delete ${id}"]`;
const last = (page) => page.locator("#last");

async function setAnswers(page, side, value) {
  const set = page.waitForResponse((it) => it.url().endsWith("/page/answers") && it.request().method() === "POST");
  await page.selectOption(`#answers-${side}`, value);
  await set;
}

/** Moves the clock to the next due job, again and again, until `read` returns something true. */
async function moveOnUntil(page, what, read) {
  for (let moves = 0; moves < 60; moves++) {
    if (await read()) return;
    await press(page, "button:text-is('to the next thing due')");
    try {
      await until(what, read, 400);
      return;
    } catch { /* not true yet: move the clock again */ }
  }
  throw new Error(`the clock was moved 60 times: not ${what}`);
}

describe("the page of teardown dev", () => {
  before(async () => {
    dev = await startDev();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    dev?.stop();
  });

  test("the first paint comes within 200 ms, and nothing is loaded from elsewhere", async () => {
    // A page of one word shows how long the browser itself takes on this machine, which may be slow or busy.
    const bare = http.createServer((_, answer) => {
      answer.setHeader("content-type", "text/html");
      answer.end("<!doctype html><title>bare</title><link rel=icon href='data:,'><p>word");
    });
    await new Promise((resolve) => bare.listen(0, "127.0.0.1", resolve));
    const firstPaint = async (url, ready) => {
      const { page, done } = await openPage(browser, url);
      await ready(page);
      await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
      const paint = await page.evaluate(() =>
        performance.getEntriesByName("first-contentful-paint")[0].startTime -
        performance.getEntriesByType("navigation")[0].requestStart);
      await done();
      return Math.round(paint);
    };
    const paints = { bare: [], ours: [] };
    for (let loads = 0; loads < 7; loads++) {
      paints.bare.push(await firstPaint(`http://127.0.0.1:${bare.address().port}/`, async () => {}));
      paints.ours.push(await firstPaint(dev.url, async (page) => {
        await connected(page);
        assert.ok((await page.title()).startsWith("teardown dev: icfg_"));
      }));
    }
    bare.close();
    for (const of of Object.values(paints)) of.sort((a, b) => a - b);
    console.log(`first paint: ${paints.ours.join(", ")} ms; of a bare page: ${paints.bare.join(", ")} ms`);
    // The shortest time is what the page needs. Longer times come from other work on the machine.
    assert.ok(paints.ours[0] - paints.bare[0] <= 200, JSON.stringify(paints));
  });

  test("an installation and its resource are made by the backend, and recorded on the way", async () => {
    const { page, done } = await openPage(browser, dev.url);
    await page.goto(dev.url);
    await Promise.all([page.waitForURL(/installation=icfg_new/), page.click("#install")]);
    await connected(page);
    const id = new URL(page.url()).searchParams.get("installation");
    assert.equal((await dev.item(id, "#installation")).state.S, "active");
    assert.ok(await dev.item(id, "#token"));
    const request = last(page).locator("pre").first();
    await request.waitFor();
    const sent = await request.textContent();
    assert.match(sent, new RegExp(`^PUT /v1/installations/${id} HTTP/1.1\n`));
    assert.ok(sent.includes('"access_token":"(not shown)"'), sent);

    await sendAs(page, { times: "64" });
    await page.fill("#provision [name=name]", "<b>db</b>");
    const answered = await press(page, "#provision button");
    assert.match(answered, /\/resources: 64 × 200 OK$/);
    const rows = page.locator("#resources tbody tr");
    await until("one resource", async () => (await rows.count()) === 1);
    assert.match(await rows.first().textContent(), /<b>db<\/b>/);
    assert.equal((await dev.item(id, "#installation")).resources.N, "1");

    const made = (await rows.first().locator("code").textContent()).trim();
    await sendAs(page, {});
    assert.match(await press(page, remove(made)), /204 No Content$/);
    assert.equal(await dev.item(id, `resource#${made}`), undefined);
    await sendAs(page, { caller: "user" });
    assert.match(await press(page, "#provision button"), /403 Forbidden$/);
    assert.equal((await dev.item(id, "#installation")).resources.N, "0");
    await done();
  });

  test("a deletion happens once: again under the same key, and 64 times at once", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page);
    await sendAs(page, {});
    assert.match(await press(page, remove("db_1")), /db_1: 204 No Content$/);
    const stored = await dev.items(id);
    assert.equal(stored["resource#db_1"], undefined);
    assert.equal(stored["#installation"].resources.N, "2");
    assert.equal(stored["receipt#resource#db_1"].deletedBy.M.role.S, "ADMIN");
    assert.ok(stored["work#announce#resource#db_1"]);
    await until("the row is gone", async () => (await page.locator(remove("db_1")).count()) === 0);
    const first = last(page);
    await first.locator("pre", { hasText: "resources/db_1" }).waitFor();
    const request = await first.locator("pre").first().textContent();
    assert.match(request, /^DELETE \/v1\/installations\/icfg_made\d+\/resources\/db_1 HTTP\/1\.1\n/);
    assert.match(request, /\nauthorization: Bearer eyJ\S{9}…\n/);
    assert.match(request, /\nidempotency-key: key-/);
    await until("its answer", async () => (await first.locator("pre").count()) === 2);
    assert.match(await first.locator("pre").nth(1).textContent(), /^HTTP\/1\.1 204 No Content/);
    await until("the items it changed", async () => /[5-9] items changed/.test(await first.textContent()));
    await first.locator(".change summary:has(code:text-is('#installation'))").click();
    const row = first.locator("tr", { hasText: "resources" });
    assert.deepEqual(await row.locator("td").allTextContents(), ["resources", "3", "2", "changed"]);

    // The key of db_1's deletion is refused for db_2. Then 64 requests with one new key delete db_2 once.
    await sendAs(page, { key: "same" });
    assert.match(await press(page, remove("db_2")), /409 Conflict$/);
    await until("its answer", async () => /idempotency_key_reused/.test(await last(page).textContent()));
    assert.ok(await dev.item(id, "resource#db_2"));
    await sendAs(page, { key: "new", times: "64" });
    assert.match(await press(page, remove("db_2")), /db_2: 64 × 204 No Content$/);
    assert.equal((await dev.item(id, "#installation")).resources.N, "1");
    await until("64 in one entry", async () => /64 × 204/.test(await last(page).textContent()));
    await done();
  });

  test("who may not delete is refused, and nothing is changed", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page);
    const before = await dev.items(id);
    for (const caller of ["user", "other", "expired"]) {
      for (const button of [remove("db_1"), uninstall, configuration]) {
        await sendAs(page, { caller });
        assert.match(await press(page, button), /403 Forbidden$/, `${caller} ${button}`);
      }
    }
    assert.deepEqual(await dev.items(id), before);
    await until("no change", async () => /403 Forbidden[^]*0 items changed/.test(await last(page).textContent()));
    await sendAs(page, { caller: "system", key: "none" });
    assert.match(await press(page, remove("db_1")), /204 No Content$/);
    assert.equal((await dev.item(id, "receipt#resource#db_1")).deletedBy.M.kind.S, "system");
    assert.match(await press(page, remove("db_2")), /204 No Content$/);
    await done();
  });

  test("an uninstall: without cascade refused, then grace, teardown and finalization, by moving the clock", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page, { billing: "open" });
    await page.selectOption("#uninstall [name=cascade]", "no");
    assert.match(await press(page, uninstall), /409 Conflict$/);
    assert.equal((await dev.item(id, "#installation")).state.S, "active");
    await page.selectOption("#uninstall [name=cascade]", "yes");
    await page.fill("#uninstall [name=reason]", "too expensive");
    assert.match(await press(page, uninstall), /200 OK$/);
    const tombstone = await dev.item(id, "#installation");
    assert.equal(tombstone.reason.S, "too expensive");
    assert.equal(tombstone.finalized.BOOL, false);
    await until("a notice of each", async () =>
      (await page.locator("#news code:text-is('resource.deletion_scheduled')").count()) === 3 &&
      (await page.locator("#news code:text-is('installation.deletion_scheduled')").count()) === 1);
    await until("grace", async () => /tells the provider to tear it down\s+due in \d+ s/.test(await page.textContent("#jobs")));
    assert.equal(await page.locator("#news code:text-is('resource.deleted')").count(), 0);
    await press(page, "button:text-is('an hour')");
    await until("the teardown", async () =>
      (await page.locator("#news code:text-is('resource.deleted')").count()) === 3 &&
      (await page.locator("#news code:text-is('installation.deleted')").count()) === 1);
    assert.ok(await dev.item(id, "#token"));
    await press(page, "button:text-is('a day')");
    await until("finalized", async () => (await dev.item(id, "#installation")).state.S === "finalized");
    assert.equal(await dev.item(id, "#token"), undefined);
    await until("shown", async () => /deleted and finalized/.test(await page.textContent("#facts")));
    await until("no job", async () => /None is left/.test(await page.textContent("#jobs")));
    assert.match(await page.textContent("#clock"), /moved on by 1 d 1 h/);
    // The tool issues a token at the time of the moved clock, so the endpoints accept the token.
    const { stdout } = await dev.tool("token", "--installation", id);
    const answer = await fetch(`${dev.url}/v1/installations/${id}`, { method: "DELETE", headers: { authorization: `Bearer ${stdout.trim()}` } });
    assert.equal(answer.status, 200);
    await done();
  });

  test("a configuration is deleted on both sides, and not while Vercel fails", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page);
    await setAnswers(page, "vercel", "failing");
    assert.match(await press(page, configuration), /503 Service Unavailable$/);
    assert.equal((await dev.item(id, "#installation")).state.S, "active");
    assert.ok(await dev.item(id, "work#configuration"));
    await setAnswers(page, "vercel", "documented");
    await until("once its lease is over", async () => /204 No Content$/.test(await press(page, configuration)), 60_000);
    assert.notEqual((await dev.item(id, "#installation")).state.S, "active");
    assert.equal(await dev.item(id, "#token"), undefined);
    await done();
  });

  test("the provider answers as it is set to: retried, still at it, hanging, parked, and retried with a reason", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page);
    const job = "work#announce#resource#db_1";
    await setAnswers(page, "provider", "accepted");
    await press(page, remove("db_1"));
    const told = page.locator("#news li", { hasText: "resource.deletion_scheduled" }).first();
    await until("202", async () => /202 Accepted/.test((await told.textContent().catch(() => "")) ?? ""));
    await until("asked again in 20 s", async () => /due in (1\d|20) s/.test(await page.textContent("#jobs")));
    await setAnswers(page, "provider", "hanging");
    await moveOnUntil(page, "no answer yet", async () => /no answer yet/.test(await told.textContent()));
    await until("given up", async () => /the caller went/.test(await told.textContent()), 40_000);
    await setAnswers(page, "provider", "failing");
    await moveOnUntil(page, "the notice is dropped", async () => (await dev.item(id, job)).phase.S === "deleted");
    // The clock moves on by 5 days, so that the job has failed for more than 3 days.
    for (let days = 0; days < 5; days++) {
      await press(page, "button:text-is('a day')");
      await until("tried", async () => Number((await dev.item(id, job)).dueAt.N) > 0);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    await moveOnUntil(page, "parked", async () => (await dev.item(id, job)).dueShard.S === "parked");
    await until("told", async () => /parked\s+since/.test(await page.textContent("#jobs")));
    await setAnswers(page, "provider", "documented");
    await page.locator("#jobs summary", { hasText: "Retry" }).click();
    await page.fill("#jobs [name=reason]", "the backend is back");
    assert.match(await press(page, "#jobs details[open] button"), /is due again/);
    await until("done", async () => (await dev.item(id, job)) === undefined);
    await done();
  });

  test("a hold stops the teardown, one resource is kept, the rest is released", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page);
    await press(page, uninstall);
    await page.locator("#facts summary", { hasText: "Hold all of it" }).click();
    await page.fill("#hold-all-reason", "ticket 42");
    assert.match(await press(page, "#facts details[open] button"), /is held, in time/);
    assert.equal((await dev.item(id, "hold#installation")).heldBy.S, "olga");
    await until("the job", async () => (await page.locator("#jobs summary", { hasText: "Keep" }).count()) === 3);
    await press(page, "button:text-is('an hour')");
    await until("held", async () => (await page.locator("#jobs li", { hasText: "held by the hold on installation" }).count()) === 4);
    assert.equal(await page.locator("#news code:text-is('resource.deleted')").count(), 0);
    await page.locator("[id='keep-db_1'] summary").click();
    await page.fill("[id='keep-reason-db_1']", "they came back");
    assert.match(await press(page, "[id='keep-db_1'] button"), /db_1 of \S+ is kept/);
    assert.equal((await dev.item(id, "receipt#resource#db_1")).kept.M.by.S, "olga");
    await page.locator("#holds summary").first().click();
    await page.fill("#holds [name=reason]", "the rest may go");
    assert.match(await press(page, "#holds details[open] button"), /is released/);
    await until("the rest is torn down", async () => /None is left/.test(await page.textContent("#jobs")));
    assert.equal(await page.locator("#news code:text-is('resource.deleted')").count(), 2);
    await page.locator("#facts summary", { hasText: "Hold all" }).click();
    await done();
  });

  test("invoices are settled with a reason", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page, { billing: "open" });
    await page.locator("#facts summary", { hasText: "Settle" }).click();
    await page.fill("#settle-reason", "paid");
    assert.match(await press(page, "#facts details[open] button"), /are settled/);
    assert.equal((await dev.item(id, "#installation")).settleReason.S, "paid");
    await until("shown", async () => /invoices\s*settled/.test(await page.textContent("#facts")));
    await done();
  });

  test("a change is on two pages at once within 200 ms of its commit", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page);
    const other = await openPage(browser, `${dev.url}/?installation=${id}`);
    await connected(other.page);
    const took = [];
    for (let n = 0; n < 10; n++) {
      const name = `renamed ${n}`;
      const seen = [page, other.page].map((it) => it.evaluate((name) => new Promise((resolve) => {
        const look = () => document.querySelector("#resources")?.textContent.includes(name) && resolve(Date.now());
        new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
      }), name));
      await dev.dynamodb("UpdateItem", {
        Key: dev.key(id, "resource#db_2"),
        UpdateExpression: "SET #name = :name",
        ExpressionAttributeNames: { "#name": "name" },
        ExpressionAttributeValues: { ":name": { S: name } },
      });
      const committed = Date.now();
      for (const at of await Promise.all(seen)) took.push(at - committed);
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    took.sort((a, b) => a - b);
    console.log(`a change is shown after ${took.join(", ")} ms`);
    assert.ok(took[Math.floor(took.length / 2)] <= LIVE_MS, `${took}`);
    await until("by another program", async () => /by another program: resource changed/.test(await page.textContent("#news")));
    await other.done();
    await done();
  });

  test("what is typed and opened stays while the page changes", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page);
    await press(page, uninstall);
    await until("jobs", async () => (await page.locator("[id='hold-db_1'] summary").count()) === 1);
    await page.locator("[id='hold-db_1'] summary").click();
    await page.locator("[id='hold-reason-db_1']").pressSequentially("half a rea");
    await press(page, remove("nothing").replace(/.*/, "#uninstall button"));
    await until("news", async () => (await page.locator("#news li:has(.kind:text-is('request'))").count()) >= 2);
    await dev.tool("hold", id, "db_2", "--reason", "x");
    await until("the hold", async () => /db_2/.test(await page.textContent("#holds")));
    assert.equal(await page.inputValue("[id='hold-reason-db_1']"), "half a rea");
    assert.equal(await page.locator("[id='hold-db_1'][open]").count(), 1);
    await done();
  });

  test("an installation of 10,000 resources is paged, and nothing freezes", async () => {
    const { page, done } = await openPage(browser, dev.url);
    await page.goto(dev.url);
    await page.selectOption("#make [name=resources]", `${MANY}`);
    await Promise.all([page.waitForURL(/installation=icfg_made/), page.click("#make button")]);
    await page.evaluate(() => {
      window.longest = 0;
      let last = performance.now();
      setInterval(() => {
        const now = performance.now();
        window.longest = Math.max(window.longest, now - last - 20);
        last = now;
      }, 20);
    });
    const id = new URL(page.url()).searchParams.get("installation");
    const began = Date.now();
    await until("made", async () => (await dev.item(id, "#installation")).resources.N === `${MANY}`, 180_000);
    console.log(`${MANY} resources made in ${Math.round((Date.now() - began) / 1000)} s`);
    await until("shown", async () => /10000 live/.test(await page.textContent("#resources")));
    assert.equal(await page.locator("#resources tbody tr").count(), 50);
    await page.click("#resources >> text=Next page");
    await until("the second page", async () => (await page.locator(remove("db_1")).count()) === 0);
    assert.equal(await page.locator("#resources tbody tr").count(), 50);
    const row = await page.locator("#resources tbody code").first().textContent();
    assert.match(await press(page, remove(row)), /204 No Content$/);
    await until("still the second page", async () => (await page.locator("#resources tbody code").first().textContent()) !== row);
    await until("one less", async () => /9999 live/.test(await page.textContent("#resources")));
    assert.match(await press(page, uninstall), /200 OK$/);
    await until("its jobs", async () => (await page.locator("#jobs li").count()) === 50, 60_000);
    const longest = await page.evaluate(() => window.longest);
    console.log(`the longest the page stood still: ${Math.round(longest)} ms`);
    assert.ok(longest < 1000, `${longest}`);
    const loaded = Date.now();
    await page.reload();
    await page.locator("#news").waitFor();
    console.log(`loaded in ${Date.now() - loaded} ms while it is purged`);
    await done();
  });

  test("hostile names are text", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = "x".repeat(255);
    const names = ["<script>alert(1)</script>", "\u202egnp.exe\u202c abc", `"'><img src=x onerror=alert(1)>`, "é".repeat(255)];
    const lines = [{ installation: { id, accountId: "acc_local", billing: "settled" } }];
    names.forEach((name, n) => lines.push({ resource: { installationId: id, id: n === 0 ? "r".repeat(255) : `r_${n}`, name, productId: name } }));
    const file = path.join(require("node:os").tmpdir(), `teardown-hostile-${process.pid}.jsonl`);
    fs.writeFileSync(file, lines.map((line) => JSON.stringify(line)).join("\n"));
    await dev.tool("import", file);
    fs.rmSync(file);
    await page.goto(`${dev.url}/?installation=${id}`);
    await connected(page);
    const shown = await page.textContent("#resources");
    for (const name of names) assert.ok(shown.includes(name), name);
    await page.fill("#uninstall [name=reason]", names[0]);
    await press(page, uninstall);
    await until("the reason", async () => (await page.textContent("#facts")).includes(names[0]));
    await checkViews(page, "hostile");
    await done();
  });

  test("another site can neither read the page nor press its buttons", async () => {
    const host = new URL(dev.url).host;
    const form = "act=settle&installation=icfg_open1&reason=forged";
    const type = { "content-type": "application/x-www-form-urlencoded" };
    for (const headers of [{ host: "evil.example" }, { host: `evil.example:${dev.port}` }, { origin: "https://evil.example" }]) {
      assert.equal(await status(dev.url, { headers }), 403, JSON.stringify(headers));
    }
    for (const headers of [{}, { origin: "null" }, { origin: "https://evil.example" }, { origin: `http://evil.example:${dev.port}`, host: `evil.example:${dev.port}` }]) {
      const posted = await status(`${dev.url}/page/operate`, { method: "POST", headers: { ...type, ...headers }, body: form });
      assert.equal(posted, 403, JSON.stringify(headers));
    }
    assert.equal(await status(dev.url, { method: "POST", headers: { origin: "https://evil.example" } }), 403);
    assert.notEqual((await dev.item("icfg_open1", "#installation")).billing.S, "settled");
    const ours = { ...type, origin: `http://${host}` };
    assert.equal(await status(`${dev.url}/page/operate`, { method: "POST", headers: ours, body: form.replace("icfg_open1", "icfg_unknown") }), 200);
  });

  test("the keyboard reaches everything, and deletes", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page);
    await until("quiet", async () => (await page.locator("#resources tbody tr").count()) === 3);
    await page.evaluate(() => {
      document.activeElement?.blur();
      window.reached = new Set();
      document.addEventListener("focusin", (event) => window.reached.add(event.target));
    });
    const missed = () => page.evaluate(() =>
      [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary")]
        .filter((it) => it.checkVisibility() && !window.reached.has(it))
        .map((it) => it.outerHTML.slice(0, 100)));
    for (let n = 0; n < 150 && (await missed()).length > 0; n++) await page.keyboard.press("Tab");
    assert.deepEqual(await missed(), []);
    await page.focus(remove("db_1"));
    await page.keyboard.press("Enter");
    await until("deleted", async () => (await dev.item(id, "resource#db_1")) === undefined);
    await done();
  });

  test("it reads well: axe finds nothing serious, wide and narrow, light and dark; pictures are taken", async () => {
    const { page, done } = await openPage(browser, dev.url);
    const id = await make(page, { billing: "open" });
    await checkViews(page, "page-fresh");
    await sendAs(page, { times: "64" });
    await press(page, remove("db_1"));
    await setAnswers(page, "provider", "failing");
    await sendAs(page, {});
    await page.fill("#uninstall [name=reason]", "too expensive");
    await press(page, uninstall);
    await until("a failure", async () => /Last error/.test(await page.textContent("#jobs")));
    await last(page).locator(".change summary:has(code:text-is('#installation'))").click();
    await dev.tool("hold", id, "db_2", "--reason", "ticket 42");
    await until("the hold", async () => /ticket 42/.test(await page.textContent("#holds")));
    await checkViews(page, "page-busy");
    await setAnswers(page, "provider", "documented");
    await done();
  });

  test("the README's picture is taken", { skip: !process.env.WRITE_IMAGES }, async () => {
    const fresh = await startDev({ GRACE_PERIOD: "7d" });
    try {
      const { page, done } = await openPage(browser, `${fresh.url}/?installation=icfg_open1`);
      await sendAs(page, {});
      await press(page, remove("db_1"));
      await page.fill("#uninstall [name=reason]", "too expensive");
      await press(page, uninstall);
      await until("purged", async () => (await fresh.item("icfg_open1", "#installation")).state.S === "purged");
      await done();
      await image(browser, `${fresh.url}/?installation=icfg_open1`, "page");
    } finally {
      fresh.stop();
    }
  });
});
