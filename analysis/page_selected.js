"use strict";

// One trial looked at: by a click on a mark or a row, by the buttons, by the slider, by #trial-7 in the address.
(() => {
  const ROOM = 9; // pixels from a mark to the ring around it
  const facts = () => page.read("facts");

  // Four curves, for a circle's corners cannot be negative pixels where an axis is logarithmic.
  const [r, k] = [ROOM, 0.5523 * ROOM];
  const ring = `M${r},0 C${r},${k} ${k},${r} 0,${r} C${-k},${r} ${-r},${k} ${-r},0 C${-r},${-k} ${-k},${-r} 0,${-r} C${k},${-r} ${r},${-k} ${r},0 Z`;

  /** What goes over a trial's marks in a figure: a ring around a point, a frame around the row of a map. Lines are drawn anew. */
  const marks = (traces, trial) => {
    const line = { width: 2.5, color: page.theme() === "dark" ? "#ffb454" : "#b3261e" };
    return traces.flatMap((trace) => {
      const at = trace.customdata?.indexOf(trial) ?? -1;
      if (at < 0 || trace.visible === "legendonly" || trace.mode === "lines") return [];
      const on = { xref: trace.xaxis ?? "x", yref: trace.yaxis ?? "y", line };
      if (trace.type === "heatmap") return [{ ...on, type: "rect", xref: "paper", x0: 0, x1: 1, y0: at - 0.5, y1: at + 0.5 }];
      if (trace.x[at] == null) return [];
      return [{ ...on, type: "path", path: ring, xsizemode: "pixel", ysizemode: "pixel", xanchor: trace.x[at], yanchor: trace.y[at] }]; // prettier-ignore
    });
  };

  page.lays("selected", (id, traces) => (page.selected === null ? [] : marks(traces, page.selected)));

  const told = (trial) => {
    const row = document.querySelector(`#trials tr[data-trial="${trial}"]`);
    const heads = row ? [...row.closest("table").tHead.rows[0].cells] : [];
    const list = document.getElementById("selected-facts");
    list.replaceChildren();
    heads.forEach((head, at) => {
      const value = row.cells[at].textContent.trim();
      if (at === 0 || !value) return;
      const remark = head.querySelector("small")?.textContent ?? "";
      const [name, text] = [document.createElement("dt"), document.createElement("dd")];
      name.textContent = head.querySelector(".name").textContent + (remark ? `, ${remark}` : "");
      text.textContent = value;
      list.append(name, text);
    });
    const derived = facts().derived.includes(trial);
    const folder = `trials/${String(trial).padStart(4, "0")}`;
    document.getElementById("selected-state").textContent = row ? row.cells[1].textContent.trim() : "";
    document.getElementById("selected-name").textContent = `${derived ? "Point" : "Trial"} ${trial}`;
    const judge = `python -m robustray judge ${folder} --split validation`;
    const train = `python -m robustray train ${folder}/trial.yaml --folder again`;
    const make = derived ? facts().requests[trial] : train;
    document.getElementById("selected-command").textContent = [make, derived && judge].filter(Boolean).join("\n");
  };

  document.addEventListener("selected", ({ detail: { trial, quietly } }) => {
    for (const row of document.querySelectorAll(".selected")) row.classList.remove("selected");
    for (const one of document.querySelectorAll('.pick[aria-pressed="true"]')) one.setAttribute("aria-pressed", "false");
    for (const found of trial === null ? [] : document.querySelectorAll(`[data-trial="${trial}"]`)) {
      if (found.matches(".pick")) found.setAttribute("aria-pressed", "true");
      else found.classList.add("selected");
    }
    page.overlay();
    document.getElementById("selected").hidden = trial === null;
    if (trial !== null) told(trial);
    if (!quietly) history.replaceState(null, "", trial === null ? location.pathname + location.search : `#trial-${trial}`);
  });

  // Members one after another, along the first axis of the figure.
  const step = (by) => {
    const members = facts().members;
    if (!members.length) return;
    const at = members.indexOf(page.selected);
    page.select(members[at < 0 ? (by > 0 ? 0 : members.length - 1) : (at + by + members.length) % members.length]);
  };

  document.addEventListener("click", ({ target }) => {
    const stepping = target.closest("[data-step]");
    if (stepping) return step(Number(stepping.dataset.step));
    if (target.closest("#selected-close")) return page.select(null);
    const card = target.closest("details.card:not([open]) > summary")?.parentElement;
    const row = card ?? target.closest("tr[data-trial], button.pick[data-trial]");
    if (row && !window.getSelection().toString()) page.select(Number(row.dataset.trial));
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && page.selected !== null) page.select(null);
    const pick = event.target.closest?.("tbody .pick");
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!pick || !by) return;
    event.preventDefault();
    const row = pick.closest("tr");
    let next = row;
    do next = by > 0 ? next.nextElementSibling : next.previousElementSibling;
    while (next?.hidden);
    next?.querySelector(".pick")?.focus();
  });

  // A table is one stop of the tab key; the arrow keys go from row to row.
  document.addEventListener("focusin", ({ target }) => {
    if (!target.matches("tbody .pick")) return;
    for (const one of target.closest("tbody").querySelectorAll('.pick[tabindex="0"]')) one.tabIndex = -1;
    target.tabIndex = 0;
  });
  const stops = () => {
    for (const body of document.querySelectorAll("tbody")) {
      for (const one of body.querySelectorAll(".pick:not([tabindex])")) one.tabIndex = -1;
      const first = body.querySelector('.pick[tabindex="0"]') ? null : body.querySelector(".pick");
      if (first) first.tabIndex = 0;
    }
  };

  // The slider: the best member that keeps to a limit, and a line where the limit is.
  page.lays("limit", (id) => {
    const slider = document.getElementById("limit");
    if (id !== "frontier" || !slider?.dataset.moved) return [];
    const [x0, color] = [Number(slider.value), page.theme() === "dark" ? "#ffb454" : "#b3261e"];
    return [{ type: "line", xref: "x", yref: "paper", x0, x1: x0, y0: 0, y1: 1, line: { width: 1.5, dash: "dash", color } }];
  });
  const limit = (slider) => {
    const { choices } = facts();
    const value = Number(slider.value);
    const keeps = choices.members.filter((one) => choices.sign * (one.at - value) >= -1e-9);
    const best = keeps[0]; // they come with the best in the other objective first
    const said = document.getElementById("limit-said");
    said.textContent = `${value.toFixed(choices.digits)} ${choices.unit}: ${best ? best.said : choices.none}`;
    if (best && best.trial !== page.selected) page.select(best.trial, { quietly: true });
    else page.overlay();
  };
  document.addEventListener("input", ({ target }) => {
    if (target.id !== "limit") return;
    target.dataset.moved = "yes";
    requestAnimationFrame(() => limit(target));
  });

  const addressed = () => {
    const found = /^#trial-(\d+)$/.exec(location.hash);
    if (found && document.querySelector(`#trials tr[data-trial="${found[1]}"]`)) page.select(Number(found[1]));
  };
  window.addEventListener("hashchange", addressed);
  document.addEventListener("renewed", () => {
    stops();
    const slider = document.getElementById("limit");
    if (slider?.dataset.moved) limit(slider);
  });
  window.addEventListener("load", addressed);
})();
