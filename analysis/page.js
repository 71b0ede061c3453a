"use strict";

// What the other scripts of the page share: figures, what lies over them, and the one trial that is looked at.
const page = (() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  const config = {
    responsive: true,
    displaylogo: false,
    // Plotly offers by default to send the figure to its cloud. Nothing leaves this page: only what is named here is there.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["autoScale2d", "resetScale2d"]],
  };
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const overlays = {}; // by figure, by who drew it: shapes
  const painters = []; // of figures that are made from data here
  let figures = {};
  let printing = false;

  const theme = () => (dark.matches && !printing ? "dark" : "light");

  const put = (id, { data, layout }) => {
    const place = document.getElementById(id);
    if (!place) return;
    if (narrow.matches && layout.coloraxis) {
      // A phone has no room beside the plot: the colour bar goes on top.
      Object.assign(layout.coloraxis.colorbar, { orientation: "h", x: 0.5, y: 1.02, yanchor: "bottom", len: 1 });
      layout.coloraxis.colorbar.title.side = "top";
    }
    if (narrow.matches && (id === "options" || id === "measures"))
      // Nor between two plots: names are short there.
      for (const [name, axis] of Object.entries(layout))
        if (/^[xy]axis/.test(name) && axis.title)
          Object.assign(axis.title, {
            text: name[0] === "x" ? axis.title.text.split(".").pop() : axis.title.text.split(" ")[0],
            standoff: 2,
            font: { size: 10 },
          });
    layout.shapes = Object.values(overlays[id] ?? {}).flat();
    // Plotly keeps the room that a colour bar or a legend took beside the plot: one of another width begins anew.
    const fresh = place.dataset.narrow !== String(narrow.matches);
    if (fresh) Plotly.purge(place);
    place.dataset.narrow = narrow.matches;
    // Its buttons would lie on the topmost panels of the other figures.
    Plotly.react(place, data, layout, { ...config, ...(id === "frontier" ? {} : { displayModeBar: false }) });
    if (fresh)
      place.on("plotly_click", ({ points }) => {
        const found = points.map(({ data, pointNumber }) => trialOf(data, [pointNumber].flat()[0])).find(Number.isInteger);
        if (found !== undefined) api.select(found);
      });
  };

  /** Whose a point of a trace is: `customdata` says it by point, of a map by row; `meta.trial` of a whole line. */
  const trialOf = ({ customdata, meta }, at) => customdata?.[at] ?? meta?.trial;

  // What both themes have is there once, in the light one.
  const whole = (id, { data, layout }) => ({
    layout: structuredClone(layout),
    data: structuredClone(data).map(({ same = [], ...trace }, at) => {
      for (const name of same) trace[name] = structuredClone(figures.light[id].data[at][name]);
      return trace;
    }),
  });

  // The frontier at once, the others one by one when there is time: the page is there before they are.
  let turn = 0;
  const draw = () => {
    const shown = Object.entries(figures[theme()] ?? {}).map(([id, figure]) => () => put(id, whole(id, figure)));
    const [first, ...others] = [...shown, ...painters];
    const mine = (turn += 1);
    first?.();
    const last = () => api.selected !== null && api.select(api.selected, { quietly: true });
    if (printing) return [...others, last].forEach((one) => one());
    const next = () => {
      if (mine !== turn) return;
      const one = others.shift();
      if (!one) return last();
      one();
      setTimeout(next);
    };
    setTimeout(next);
  };

  const renew = () => {
    figures = read("figures");
    draw();
    document.dispatchEvent(new CustomEvent("renewed"));
    api.select(api.selected, { quietly: true });
  };

  const api = {
    narrow,
    read,
    put,
    theme,
    draw,
    renew,
    selected: null,
    /** Draws a figure that is made here, now and whenever the theme changes. */
    paints: (paint) => painters.push(paint),
    /** Shapes over a figure, in place of those that the same `owner` drew before. */
    overlay: (id, owner, shapes) => {
      (overlays[id] ??= {})[owner] = shapes;
      const place = document.getElementById(id);
      if (place?.classList.contains("js-plotly-plot"))
        Plotly.relayout(place, { shapes: Object.values(overlays[id]).flat() });
    },
    /** Looks at one trial everywhere; at none with null. */
    select: (trial, { quietly = false } = {}) => {
      api.selected = trial;
      document.dispatchEvent(new CustomEvent("selected", { detail: { trial, quietly } }));
    },
  };

  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  const print = (on) => () => {
    printing = on;
    draw();
  };
  window.addEventListener("beforeprint", print(true));
  window.addEventListener("afterprint", print(false));
  return api;
})();
