"use strict";

// How the search got there, and how each trial was trained: figures that are made here, for they follow a slider and a choice.
(() => {
  const ink = () =>
    page.theme() === "dark"
      ? { paper: "#14181f", ink: "#e6e9ee", muted: "#98a2b0", grid: "#2a323d", accent: "#7fb2e5", chosen: "#ffb454" }
      : { paper: "#ffffff", ink: "#1c2430", muted: "#66707d", grid: "#e9ecf0", accent: "#2b5c8f", chosen: "#b3261e" };

  const layout = (look, left, right) => {
    const axis = { gridcolor: look.grid, zeroline: false, linecolor: look.muted, showline: true, tickfont: { color: look.muted }, automargin: true };
    const narrow = page.narrow.matches;
    const font = { family: getComputedStyle(document.body).fontFamily, color: look.ink, size: 12 };
    const domains = !right ? [[0, 1]] : narrow ? [[0, 1], [0, 1]] : [[0, 0.46], [0.56, 1]]; // prettier-ignore
    const heights = right && narrow ? [[0.58, 1], [0, 0.4]] : [[0, 1], [0, 1]]; // prettier-ignore
    const placed = [left, right].filter(Boolean).map(({ x, y }, at) => ({
      [`xaxis${at ? 2 : ""}`]: { ...axis, title: { text: x, standoff: 6 }, domain: domains[at], anchor: `y${at ? 2 : ""}`, rangemode: at ? "normal" : "tozero" },
      [`yaxis${at ? 2 : ""}`]: { ...axis, title: { text: y, standoff: 6 }, domain: heights[at], anchor: `x${at ? 2 : ""}` },
    }));
    return Object.assign(
      { template: "none", paper_bgcolor: look.paper, plot_bgcolor: look.paper, font, hovermode: "closest", showlegend: false,
        margin: { l: 56, r: 14, t: 12, b: 46 }, height: right && narrow ? 620 : 360 },
      ...placed,
    ); // prettier-ignore
  };

  // The corners of what the points of a plane attain, from the best in y to the best in x.
  const staircase = (points, [first, second]) => {
    const best = [];
    for (const point of [...points].sort((a, b) => first * (b.x - a.x) || second * (b.y - a.y)))
      if (!best.length || second * (point.y - best[best.length - 1].y) > 0) best.push(point);
    best.reverse();
    const [xs, ys] = [[], []];
    best.forEach(({ x, y }, at) => {
      if (at) (xs.push(xs[xs.length - 1]), ys.push(y));
      xs.push(x);
      ys.push(y);
    });
    return { x: xs, y: ys };
  };

  const hours = (value, of) => (of >= 1 ? [value, "hours"] : of * 60 >= 1 ? [value * 60, "minutes"] : [value * 3600, "seconds"]);

  const drawProgress = () => {
    const found = page.read("facts").progress;
    const slider = document.getElementById("share");
    if (!found || !slider) return;
    const look = ink();
    const total = found.hours[found.hours.length - 1];
    const share = Number(slider.value) / 100;
    const ended = found.hours.filter((spent) => spent <= share * total + 1e-12).length;
    const scaled = found.hours.map((spent) => hours(spent, total)[0]);
    const unit = hours(0, total)[1];
    const points = found.trial.map((trial, at) => ({ trial, x: found.x?.[at], y: found.y?.[at] }));
    const known = (some) => some.filter(({ x, y }) => x != null && y != null);
    const data = [
      { x: [0, ...scaled], y: [0, ...found.hypervolume], mode: "lines", line: { shape: "hv", color: look.muted, width: 1.5 }, hoverinfo: "skip" },
      { x: scaled.slice(0, ended), y: found.hypervolume.slice(0, ended), customdata: found.trial.slice(0, ended), mode: "markers",
        marker: { color: look.accent, size: 6 }, hovertemplate: `after trial %{customdata}: %{y:.4f}<br>%{x:.3g} device ${unit}<extra></extra>` },
    ]; // prettier-ignore
    const [first, second] = found.axes;
    if (first) {
      const signs = [first.sign, second.sign];
      const now = known(points.slice(0, ended));
      data.push(
        { ...staircase(known(points), signs), xaxis: "x2", yaxis: "y2", mode: "lines", line: { color: look.muted, width: 1.2, dash: "dot" }, hoverinfo: "skip" },
        { ...staircase(now, signs), xaxis: "x2", yaxis: "y2", mode: "lines", line: { color: look.ink, width: 1.8 }, hoverinfo: "skip" },
        { x: now.map(({ x }) => x), y: now.map(({ y }) => y), customdata: now.map(({ trial }) => trial), xaxis: "x2", yaxis: "y2", mode: "markers",
          marker: { color: look.accent, size: 7, opacity: 0.75 }, hovertemplate: "trial %{customdata}<br>%{x:.4g}, %{y:.4g}<extra></extra>" },
      ); // prettier-ignore
    }
    const right = first && { x: first.title, y: second.title };
    const drawn = layout(look, { x: `device ${unit}, training`, y: "hypervolume" }, right);
    if (first) [drawn.xaxis2.range, drawn.yaxis2.range] = [[...first.range], [...second.range]]; // whatever the slider says
    const value = ended ? found.hypervolume[ended - 1] : 0;
    const last = found.hypervolume[found.hypervolume.length - 1];
    document.getElementById("share-said").textContent =
      `${(hours(share * total, total)[0]).toFixed(1)} of ${hours(total, total)[0].toFixed(1)} device ${unit}: ${ended} of ${found.trial.length} trials had ended` +
      (last > 0 ? `, ${((100 * value) / last).toFixed(0)} % of the hypervolume was reached` : "");
    return { data, layout: drawn };
  };

  const drawTraining = () => {
    const { training, members } = page.read("facts");
    if (!training) return;
    const look = ink();
    const selected = page.selected;
    const shown = [...members.filter((trial) => trial !== selected), selected].filter((trial) => training[trial]);
    const data = shown.flatMap((trial) => {
      const curve = training[trial];
      const chosen = trial === selected;
      const color = chosen ? look.chosen : look.accent;
      return ["clean", "robust"].flatMap((metric, at) => {
        const on = at ? { xaxis: "x2", yaxis: "y2" } : {};
        const marks = curve.epoch.indexOf(curve.chosen);
        const line = { x: curve.epoch, y: curve[metric], mode: "lines", opacity: chosen ? 1 : 0.55, line: { color, width: chosen ? 2.6 : 1.4 },
          hovertemplate: `trial ${trial}, epoch %{x}: %{y:.1f} %<extra></extra>`, meta: { trial }, ...on }; // prettier-ignore
        const dot = marks < 0 ? [] : [{ x: [curve.chosen], y: [curve[metric][marks]], customdata: [trial], mode: "markers",
          marker: { color, size: chosen ? 9 : 7, symbol: "diamond", line: { width: 1, color: look.paper } },
          hovertemplate: `trial ${trial}, epoch %{x}, whose weights count: %{y:.1f} %<extra></extra>`, ...on }]; // prettier-ignore
        return [line, ...dot];
      });
    });
    const curve = training[selected];
    const robust = curve?.robust.filter((value) => value != null) ?? [];
    const told = document.getElementById("training-said");
    told.hidden = selected === null;
    if (selected !== null)
      told.textContent = robust.length > 1
        ? `Trial ${selected}: ${robust[robust.length - 1].toFixed(1)} % robust at the last epoch, ${Math.max(...robust).toFixed(1)} % at the best one.`
        : robust.length
          ? `Trial ${selected}: ${robust[0].toFixed(1)} % robust, measured once.`
          : `Trial ${selected} has no measured epochs.`;
    return { data, layout: layout(look, { x: "epoch", y: "clean accuracy, %" }, { x: "epoch", y: "robust accuracy, %" }) };
  };

  document.addEventListener("input", ({ target }) => {
    if (target.id === "share") page.draw(["progress"]);
  });
  page.paints("progress", drawProgress);
  page.paints("training", drawTraining);
  document.addEventListener("selected", () => page.draw(["training"]));
})();
