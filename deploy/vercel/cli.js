"use strict";
// Runs Vercel's command line for both checks: a pinned version, without an account, on a copy of the tracked
// files, and with a time limit.

const { spawn, execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const ROOT = path.resolve(__dirname, "../..");
const VERCEL = path.join(__dirname, "node_modules/.bin/vercel");

// Variables of the functions, AWS and Vercel that this machine's user may have set. They would change the
// results of a check, so the checks do not pass them on.
const SET_BY_CHECKS =
  /^(AWS_|OIDC_|VERCEL|PROVIDER_|INTEGRATION_ID$|TABLE_NAME$|BACKEND_URL$|CRON_SECRET$|CLIENT_SECRET$|SUPPORT_URL$|GRACE_PERIOD$|PROVISIONING_LIMIT$|UNINSTALL_WITH_OPEN_INVOICES$|RECEIPT_RETENTION$|FINALIZE_MARGIN$|RUST_LOG$)/;

const ENVIRONMENT = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !SET_BY_CHECKS.test(name))),
  // The checkout and its copies use the same target folder. Cargo identifies a workspace by its content and
  // not by its path, so nothing is built twice.
  CARGO_TARGET_DIR: path.resolve(ROOT, process.env.CARGO_TARGET_DIR || "target"),
  VERCEL_TELEMETRY_DISABLED: "1",
};

/** The reason why a check failed. */
class Failure extends Error {}

/** Installs the command line, if the lock file is newer than the installation. */
function install() {
  const changed = (file) => {
    const name = path.join(__dirname, file);
    return fs.existsSync(name) ? fs.statSync(name).mtimeMs : 0;
  };
  if (changed("node_modules/.package-lock.json") < changed("package-lock.json")) {
    const npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    execFileSync("npm", npm, { cwd: __dirname, stdio: ["ignore", "inherit", "inherit"] });
  }
}

const folders = [];

/**
 * Copies the tracked files that `vercel deploy` uploads, as they are in the working tree, to a folder
 * that is removed after the check. Returns this folder, and a folder for Vercel's own configuration. The
 * copies keep the times of the files, because cargo compares these times.
 */
function copyTracked() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "teardown-vercel-"));
  folders.push(folder);
  const copy = path.join(folder, "teardown");
  const list = (...args) =>
    execFileSync("git", ["ls-files", "-z", ...args], { cwd: ROOT, encoding: "utf8" }).split("\0");
  const ignored = new Set(list("--cached", "--ignored", "--exclude-from=.vercelignore"));
  for (const file of list().filter((file) => file !== "" && !ignored.has(file))) {
    const source = path.join(ROOT, file);
    if (!fs.existsSync(source)) continue;
    const target = path.join(copy, file);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.copyFileSync(source, target);
    const { atime, mtime } = fs.statSync(source);
    fs.utimesSync(target, atime, mtime);
  }
  return { copy, global: path.join(folder, "global") };
}

const started = [];

/** Starts a command in a process group of its own, so that all processes of the group can be ended. */
function start(command, args, options) {
  const child = spawn(command, args, {
    cwd: ROOT,
    env: ENVIRONMENT,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    ...options,
  });
  const service = { child, name: [command, ...args].join(" "), output: "" };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (data) => (service.output += data));
  }
  service.ended = new Promise((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => resolve(code === 0 ? undefined : `it ended by ${signal ?? code}`));
  });
  started.push(service);
  return service;
}

/** Runs a command, and returns its standard output. Kills the command after `seconds`. */
async function run(command, args, { seconds, ...options }) {
  const stdio = ["ignore", "pipe", "inherit"];
  const service = start(command, args, { stdio, ...options });
  const late = setTimeout(() => signal(service, "SIGKILL"), seconds * 1000);
  const failure = await service.ended;
  clearTimeout(late);
  started.splice(started.indexOf(service), 1);
  if (failure) throw new Failure(`${service.name}: ${failure}\n${service.output}`);
  return service.output;
}

function signal(service, name) {
  try {
    process.kill(-service.child.pid, name);
    return true;
  } catch {
    return false; // No process of the group is left, or the command never started.
  }
}

/** Ends all started commands: with SIGTERM and, after 5 seconds, with SIGKILL. */
async function end() {
  const left = started.filter((service) => service.child.pid && signal(service, "SIGTERM"));
  for (let tries = 0; tries < 50 && left.some((service) => signal(service, 0)); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const service of left) signal(service, "SIGKILL");
}

/**
 * Runs a check, and then ends this process with the check's result. Before that, it ends all commands that
 * the check started. It does the same on a signal, and after `seconds` at the latest.
 */
async function main(seconds, check) {
  let stopping = false;
  const stop = async (code, why) => {
    if (stopping) return;
    stopping = true;
    if (why) {
      for (const { name, output } of started) console.error(`--- ${name} said:\n${output}`);
      console.error(why);
    }
    await end();
    for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
    process.exit(code);
  };
  setTimeout(() => stop(1, `not done after ${seconds} s`), seconds * 1000);
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => stop(1, name));
  try {
    install();
    await check();
    await stop(0);
  } catch (error) {
    await stop(1, error instanceof Failure ? error.message : error);
  }
}

module.exports = { ENVIRONMENT, Failure, ROOT, VERCEL, copyTracked, install, main, run, start };
