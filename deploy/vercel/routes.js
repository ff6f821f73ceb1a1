"use strict";
// Finds out where a request goes, from the output of `vercel build`. It follows the rules of Vercel's Build
// Output API: the routes in their order, phase by phase, and the functions and files at a path.

const fs = require("node:fs");
const path = require("node:path");

/** Splits the routes into phases: the routes before the first `handle`, and the routes after each `handle`. */
function phases(routes) {
  const found = { start: [] };
  let phase = found.start;
  for (const route of routes) {
    if (route.handle) phase = found[route.handle] = [];
    else phase.push(route);
  }
  return found;
}

/** The function or the file at a path, if there is one. */
function lookUp(output, pathname) {
  const name = decodeURIComponent(pathname).replace(/^\/+/, "");
  const isFile = (file) => fs.existsSync(file) && fs.statSync(file).isFile();
  if (name !== "" && fs.existsSync(path.join(output, "functions", `${name}.func`))) {
    return `function ${name}`;
  }
  for (const file of [name, path.join(name, "index.html")]) {
    if (isFile(path.join(output, "static", file))) return `file ${file}`;
  }
  return undefined;
}

/** Where a route sends a request, if the route matches. `src` is compared with the path as it was sent. */
function match(route, method, pathname) {
  if (route.methods && !route.methods.includes(method)) return undefined;
  const found = new RegExp(route.src, route.caseSensitive ? "" : "i").exec(pathname);
  if (!found) return undefined;
  const fill = (text) => text.replace(/\$(\d)/g, (_, number) => found[Number(number)] ?? "");
  return { dest: route.dest && fill(route.dest), location: fill(route.headers?.Location ?? "") };
}

/** Where a request goes: `function NAME`, `file NAME`, `redirect PATH`, an address elsewhere, or a status. */
function resolve(output, method, pathname) {
  const config = JSON.parse(fs.readFileSync(path.join(output, "config.json"), "utf8"));
  const { start, filesystem = [], rewrite = [], miss = [] } = phases(config.routes);
  let current = pathname;
  for (const phase of [start, filesystem, rewrite, miss]) {
    for (const route of phase) {
      const matched = match(route, method, current);
      if (!matched) continue;
      if (route.status && matched.location) return `redirect ${matched.location}`;
      if (route.status && !matched.dest) return `${route.status}`;
      if (!matched.dest) continue;
      if (/^https?:/.test(matched.dest)) return matched.dest;
      current = matched.dest.split("?")[0];
      if (!route.check) break;
      const found = lookUp(output, current);
      if (found) return found;
    }
    // Functions and files come after a phase's routes, because these routes may hide them.
    const found = lookUp(output, current);
    if (found) return found;
  }
  return "404";
}

module.exports = { resolve };
