// Shows the time that is left until each time on the page. It uses the clock of the tool that serves the
// page. The clock of `teardown dev` may have been moved on.
"use strict";
(() => {
  let ahead = 0; // how far the tool's clock is ahead of the browser's clock, in milliseconds
  let read = "";

  const words = (seconds) => {
    const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const parts = [];
    let left = seconds;
    for (const [size, unit] of units) {
      if (left >= size) {
        parts.push(`${Math.floor(left / size)} ${unit}`);
        left %= size;
      }
    }
    return parts.slice(0, 2).join(" ") || "0 s";
  };

  const set = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const tick = () => {
    const clock = document.querySelector("[data-now]");
    if (clock && clock.dataset.now !== read) {
      read = clock.dataset.now;
      ahead = Number(read) - Date.now();
    }
    const now = Date.now() + ahead;
    const shown = document.getElementById("now");
    if (shown) set(shown, new Date(now).toISOString().slice(0, 19) + "Z");
    for (const element of document.querySelectorAll("time.countdown")) {
      const left = Math.ceil(Number(element.dataset.at) - now / 1000);
      set(element, left > 0 ? `in ${words(left)}` : "now");
    }
  };

  tick();
  setInterval(tick, 250);
  document.addEventListener("htmx:after:swap", tick);
})();
