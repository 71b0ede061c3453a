"use strict";

// A page that is served: it asks for the newest state whenever there is one, and puts it in place of what is shown. What the
// reader did stays: the figures and their zoom, what he typed and moved, what he unfolded, and the trial he looks at.
(() => {
  const KEPT = ".js-plotly-plot, input[id], input[data-filters]";
  const key = (one) => one.id || one.dataset.filters;
  const state = document.getElementById("live-state");
  let shown = null;
  let asking = false;
  let again = false;

  const keep = (old, fresh) => {
    for (const mine of old.querySelectorAll(KEPT)) {
      const place = [...fresh.querySelectorAll(KEPT + ", figure > div[id]")].find((one) => key(one) === key(mine));
      if (!place) continue;
      for (const name of ["min", "max", "step"]) if (place.hasAttribute(name)) mine.setAttribute(name, place.getAttribute(name));
      place.replaceWith(mine);
    }
    const open = new Set([...old.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
    for (const one of fresh.querySelectorAll("details > summary")) one.parentElement.open = open.has(one.textContent);
  };

  const put = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    if (!document.getElementById("figures") || !fresh.getElementById("figures")) {
      // From or to a page that has nothing to draw: all of it is another one.
      const said = (of) => of.querySelector(".verdict")?.textContent;
      if (said(document) !== said(fresh)) location.reload();
      return;
    }
    const focused = document.activeElement?.id || document.activeElement?.dataset?.filters;
    const [x, y] = [window.scrollX, window.scrollY];
    for (const part of ["body > header", "main"]) {
      const [old, next] = [document.querySelector(part), fresh.querySelector(part)];
      if (!old || !next) continue;
      next.querySelector("#live-state")?.replaceWith(state);
      keep(old, next);
      old.replaceWith(document.adoptNode(next));
    }
    for (const id of ["figures", "facts"]) document.getElementById(id).textContent = fresh.getElementById(id).textContent;
    document.title = fresh.title;
    page.renew();
    window.scrollTo(x, y);
    if (focused) (document.getElementById(focused) ?? document.querySelector(`[data-filters="${focused}"]`))?.focus();
  };

  const renew = async () => {
    if (asking) return void (again = true);
    asking = true;
    try {
      const answer = await fetch("/", { cache: "no-store" });
      const version = answer.headers.get("X-Version");
      if (answer.ok && version !== shown) {
        put(await answer.text());
        shown = version;
        state.textContent = `Live, as of ${new Date().toLocaleTimeString("en-GB")}.`;
      }
    } catch {
      // The next event, or the next connection, asks again.
    }
    asking = false;
    if (again) {
      again = false;
      renew();
    }
  };

  const events = new EventSource("/events");
  events.onmessage = ({ data }) => {
    if (data !== shown) renew();
  };
  events.onerror = () => {
    state.textContent = "Nothing new comes: the sweep has ended, or the page is not served any more. This is the last state.";
  };
})();
