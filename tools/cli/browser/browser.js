"use strict";
// Helpers for the tests of both pages. They start a `teardown dev`, read and write its table, and open pages
// in a browser. They record the faults of a page, such as an error on the browser's console.

const assert = require("node:assert/strict");
const { spawn, execFile } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { promisify } = require("node:util");
const { chromium } = require("playwright-core");

const ROOT = path.resolve(__dirname, "../../..");
const TOOL = path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), "debug/teardown");
const PICTURES = path.join(ROOT, "target/browser");
const IMAGES = path.join(ROOT, "docs/images");
const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const START_MS = 20_000;

/** The environment of the tool: this process's variables, without those that the tool or AWS reads. */
function environment(more = {}) {
  const ours = /^(AWS_|OIDC_|PROVIDER_|GRACE_PERIOD|INTEGRATION_ID|TABLE_NAME|RUST_LOG|CARGO)/;
  const kept = Object.entries(process.env).filter(([name]) => !ours.test(name));
  return { ...Object.fromEntries(kept), USER: "olga", ...more };
}

/** Starts the tool, and waits until it has printed its address. */
async function start(args, address, env) {
  const child = spawn(TOOL, args, { env: environment(env), stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const answered = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no address in ${output}`)), START_MS);
    const read = (chunk) => {
      output += chunk;
      const found = address.exec(output);
      if (found) {
        clearTimeout(timer);
        resolve(found[1]);
      }
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("exit", () => reject(new Error(`the tool has ended: ${output}`)));
  });
  const url = await answered;
  return { url, child, stop: () => child.kill("SIGKILL") };
}

/** Starts a `teardown dev`. Returns it with functions that read and write its table. */
async function startDev(env) {
  const dev = await start(["dev", "--port", "0"], /listening on (http:\S+)/, env);
  const port = new URL(dev.url).port;
  const dynamodb = async (operation, body) => {
    const answer = await fetch(dev.url, {
      method: "POST",
      headers: {
        "x-amz-target": `DynamoDB_20120810.${operation}`,
        "content-type": "application/x-amz-json-1.0",
        "x-amz-date": "20130524T000000Z",
        authorization:
          "AWS4-HMAC-SHA256 Credential=local/20130524/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
      },
      body: JSON.stringify({ TableName: "teardown", ...body }),
    });
    const answered = await answer.json();
    assert.equal(answer.status, 200, JSON.stringify(answered));
    return answered;
  };
  const key = (id, sk) => ({ pk: { S: `installation#${id}` }, sk: { S: sk } });
  const items = async (id) => {
    const found = {};
    let start;
    do {
      const page = await dynamodb("Query", {
        KeyConditionExpression: "pk = :pk",
        ExpressionAttributeValues: { ":pk": { S: `installation#${id}` } },
        ConsistentRead: true,
        ExclusiveStartKey: start,
      });
      for (const item of page.Items) found[item.sk.S] = item;
      start = page.LastEvaluatedKey;
    } while (start);
    return found;
  };
  const item = async (id, sk) =>
    (await dynamodb("GetItem", { Key: key(id, sk), ConsistentRead: true })).Item;
  const tool = async (...args) =>
    promisify(execFile)(TOOL, ["--port", port, ...args], { env: environment(env) });
  return { ...dev, port, dynamodb, key, items, item, tool };
}

/** Starts a console over the table of a `teardown dev`. */
const startConsole = (dev) =>
  start(["--port", dev.port, "console"], /is at (http:\S+\/)/);

/** Starts the browser, and makes the folder for pictures. */
async function launch() {
  fs.mkdirSync(PICTURES, { recursive: true });
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

/**
 * Opens a page, and records its faults: errors, warnings, dialogs, answers of 400 or more, and requests to
 * other sites. `done` fails the test if there is a fault.
 */
async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const faults = [];
  const here = new URL(url).origin;
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== here) faults.push(`elsewhere: ${request.url()}`);
  });
  page.on("response", (answer) => {
    if (answer.status() >= 400) faults.push(`${answer.status()}: ${answer.url()}`);
  });
  await page.goto(url);
  const done = async () => {
    await context.close();
    assert.deepEqual(faults, []);
  };
  return { page, context, done };
}

/** Waits until `read` returns something true, and returns it. Fails after `ms`, with the last result. */
async function until(what, read, ms = 15_000) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    last = await read();
    if (last) return last;
    if (Date.now() > end) throw new Error(`not in ${ms} ms: ${what} (${JSON.stringify(last)})`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** The serious and critical faults of accessibility that axe finds on a page, one line for each. */
async function axe(page) {
  // The page's policy forbids scripts from elsewhere. The debugger, which adds axe here, may run any script.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter((it) => ["serious", "critical"].includes(it.impact))
    .map((it) => `${it.id}: ${it.nodes.map((node) => `${node.html.slice(0, 120)} ${node.any.map((why) => why.message).join(" ")}`).join(" | ")}`);
}

/** Saves pictures of a view for people to look at: wide and narrow, light and dark. */
async function pictures(page, name) {
  for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [400, "light"]]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    await page.evaluate(() => window.scrollTo(0, 0));
    await page.screenshot({ path: path.join(PICTURES, `${name}-${width}-${scheme}.png`), fullPage: true });
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

/**
 * Checks a view, wide and narrow, light and dark: axe finds no fault, and the page is not wider than the
 * window. A failure names the width.
 */
async function checkViews(page, name) {
  await pictures(page, name);
  for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [400, "light"]]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    assert.deepEqual(await axe(page), [], `${name} at ${width} px, ${scheme}`);
    const wide = await page.evaluate(() => document.scrollingElement.scrollWidth);
    assert.ok(wide <= width, `${name}: ${wide} px wide at ${width} px`);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

/** Sends a request with headers that a browser's scripts may not set. Returns the answer's status. */
function status(url, { method = "GET", headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, headers }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Saves the README's picture of a view, if `WRITE_IMAGES` is set. The picture is small, but legible. */
async function image(browser, url, name) {
  if (!process.env.WRITE_IMAGES) return;
  fs.mkdirSync(IMAGES, { recursive: true });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 0.75 });
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForTimeout(500);
  await page.screenshot({ path: path.join(IMAGES, `${name}.png`) });
  await context.close();
}

module.exports = {
  axe, image, checkViews, launch, openPage, pictures, startConsole, startDev, status, until,
};
