"use strict";

// A page that is served: it asks what is new whenever something is, and changes what is shown, a little at a time.
(() => {
  const ROWS = 20; // of a table in one go
  const state = document.getElementById("live-state");
  const pause = () => new Promise((done) => setTimeout(done));
  let shown = document.body.dataset.state;
  let asking = false;
  let again = false;

  const pieces = async ({ order, pieces }) => {
    const main = document.querySelector("main");
    const piece = (name) => document.querySelector(`[data-piece="${name}"]`);
    for (const [name, html] of Object.entries(pieces)) {
      const old = piece(name);
      const fresh = patch.parsed(html);
      if (old) patch.element(old, fresh);
      else {
        // Behind the one that is before it on the page.
        const before = order.slice(0, order.indexOf(name)).map(piece).filter((one) => one?.parentElement === main).pop();
        if (before) before.after(fresh);
        else main.prepend(fresh);
      } // prettier-ignore
      await pause();
    }
    for (const one of main.querySelectorAll(":scope > [data-piece]")) if (!order.includes(one.dataset.piece)) patch.away(one);
  };

  const rows = async ({ rows, changed }) => {
    const body = document.querySelector("table.sortable > tbody");
    const shown = new Map([...body.rows].map((row) => [row.dataset.trial, row]));
    for (const [at, [trial, html]] of Object.entries(changed).entries()) {
      const old = shown.get(trial);
      const fresh = patch.parsed(html);
      if (old) patch.element(old, fresh);
      else {
        shown.set(trial, fresh);
        body.append(fresh);
      }
      if (at % ROWS === ROWS - 1) await pause();
    }
    if (!rows) return;
    const now = new Set(rows);
    for (const [trial, row] of shown) if (!now.has(trial)) row.remove();
    if (!page.sorted(body.parentElement.id)) page.order(body, rows.map((trial) => shown.get(trial)));
  }; // prettier-ignore

  // Figures whose data is another one. Those that are made here know themselves what they are made from.
  const data = (difference) => {
    const [before, facts] = [page.read("figures"), page.read("facts")];
    const now = patch.value({ figures: before, facts }, difference);
    page.take("figures", now.figures);
    page.take("facts", now.facts);
    const other = (of, old, name) => of[name] !== old[name];
    const made = ["progress", "training", "members"].some((name) => other(now.facts, facts, name)) ? ["progress", "training"] : [];
    const names = new Set([...Object.keys(now.figures.light), ...Object.keys(before.light)]);
    return [...names].filter((id) => other(now.figures.light, before.light, id) || other(now.figures.dark, before.dark, id)).concat(made);
  };

  const put = async (changes) => {
    await pieces(changes);
    await rows(changes);
    const redrawn = changes.data ? data(changes.data) : [];
    await pause();
    document.title = document.querySelector("h1").textContent;
    page.draw(redrawn);
    await pause();
    page.renewed();
  };

  const renew = async () => {
    if (asking) return void (again = true);
    asking = true;
    let changes = null;
    try {
      const answer = await fetch(`/changes?since=${shown}`, { cache: "no-store" });
      changes = answer.ok ? await answer.json() : null;
    } catch {
      // The next event, or the next connection, asks again.
    }
    if (changes && changes.state !== shown) {
      if (!changes.order || !document.getElementById("figures")) return location.reload(); // there is nothing that could be changed
      try {
        await put(changes);
      } catch (error) {
        console.error(error);
        return location.reload(); // what is half changed must not stay
      }
      shown = changes.state;
      state.textContent = `Live, as of ${new Date().toLocaleTimeString("en-GB")}.`;
    }
    asking = false;
    if (again) {
      again = false;
      renew();
    }
  };

  const events = new EventSource("/events");
  events.onmessage = renew;
  events.onerror = () => {
    state.textContent = "Nothing new comes: the sweep has ended, or the page is not served any more. This is the last state.";
  };
})();
