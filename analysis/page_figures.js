"use strict";

// Figures: each is drawn when it comes near the view, and again there when its data is another one. One at a time: between two
// of them the page answers.
(() => {
  const config = {
    responsive: true,
    displaylogo: false,
    // Plotly offers by default to send the figure to its cloud. Nothing leaves this page: only what is named here is there.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["autoScale2d", "resetScale2d"]],
  };
  const painters = {}; // by figure that is made from data here
  const layers = {}; // by who lays shapes over figures: a function of the figure's id and traces
  const zooms = new WeakMap(); // by figure: axes that the reader has zoomed
  const stale = new Set(); // figures to be drawn
  const unlaid = new Set(); // figures that are drawn, to be marked anew
  let working = false;

  const places = () => [...document.querySelectorAll("figure > [id]")];
  const drawn = (place) => place.classList.contains("js-plotly-plot");
  const near = (place) => {
    const { top, bottom } = place.getBoundingClientRect();
    return bottom > -innerHeight / 2 && top < 1.5 * innerHeight;
  };
  const shapes = (id, traces) => Object.values(layers).flatMap((layer) => layer(id, traces));

  const lay = (place) => {
    unlaid.delete(place.id);
    const fresh = shapes(place.id, place.data);
    if (JSON.stringify(fresh) !== JSON.stringify(place.laid)) Plotly.relayout(place, { shapes: (place.laid = fresh) });
  };

  /** Whose a point of a trace is: `customdata` says it by point, of a map by row; `meta.trial` of a whole line. */
  const trialOf = ({ customdata, meta }, at) => customdata?.[at] ?? meta?.trial;

  /** Notes which axes the reader has zoomed. A double click takes that back, and tells of a range as well. */
  const followed = (place) => {
    const zoomed = new Set();
    let reset = false;
    zooms.set(place, zoomed);
    place.on("plotly_doubleclick", () => (reset = true));
    place.on("plotly_relayout", (change) => {
      const axes = Object.keys(change).map((key) => /^([xy]axis\d*)\.(range|autorange)/.exec(key)).filter(Boolean);
      for (const [, axis, what] of axes) zoomed[what === "range" && !reset ? "add" : "delete"](axis);
      if (axes.length) reset = false;
    });
  }; // prettier-ignore

  const put = (place, { data, layout }) => {
    const { id } = place;
    const narrow = page.narrow.matches;
    if (narrow && layout.coloraxis) {
      // A phone has no room beside the plot: the colour bar goes on top.
      Object.assign(layout.coloraxis.colorbar, { orientation: "h", x: 0.5, y: 1.02, yanchor: "bottom", len: 1 });
      layout.coloraxis.colorbar.title.side = "top";
    }
    if (narrow && (id === "options" || id === "measures"))
      // Nor between two plots: names are short there.
      for (const [name, axis] of Object.entries(layout))
        if (/^[xy]axis/.test(name) && axis.title)
          Object.assign(axis.title, {
            text: name[0] === "x" ? axis.title.text.split(".").pop() : axis.title.text.split(" ")[0],
            standoff: 2,
            font: { size: 10 },
          });
    layout.uirevision = "kept"; // what the legend hides; a zoom only where the range before it is the same, so that is ours
    for (const axis of zooms.get(place) ?? []) Object.assign(layout[axis] ?? {}, { range: [...place.layout[axis].range], autorange: false });
    layout.shapes = place.laid = shapes(id, data);
    // Plotly keeps the room that a colour bar or a legend took beside the plot: one of another width begins anew.
    const fresh = place.dataset.narrow !== String(narrow);
    if (fresh) Plotly.purge(place);
    place.dataset.narrow = narrow;
    place.style.minHeight = "";
    // Its buttons would lie on the topmost panels of the other figures.
    Plotly.react(place, data, layout, { ...config, ...(id === "frontier" ? {} : { displayModeBar: false }) });
    if (fresh) {
      followed(place);
      place.on("plotly_click", ({ points }) => {
        const found = points.map(({ data, pointNumber }) => trialOf(data, [pointNumber].flat()[0])).find(Number.isInteger);
        if (found !== undefined) page.select(found);
      });
    }
    lay(place); // over what the legend hides nothing is laid, and only a figure that is drawn says what that is
  };

  // Plotly writes into what it is given. What both themes have is there once, in the light one.
  const whole = (id) => {
    const figures = page.read("figures");
    const figure = figures[page.theme()]?.[id];
    return figure && {
      layout: structuredClone(figure.layout),
      data: structuredClone(figure.data).map(({ same = [], ...trace }, at) => {
        for (const name of same) trace[name] = structuredClone(figures.light[id].data[at][name]);
        return trace;
      }),
    }; // prettier-ignore
  };

  const drawOne = (place) => {
    stale.delete(place.id);
    const figure = (painters[place.id] ?? whole)(place.id);
    if (figure) put(place, figure);
  };

  const step = (ready) => {
    const found = places().filter(ready);
    const place = found.find(({ id }) => stale.has(id));
    if (place) drawOne(place);
    else {
      const marked = found.find((one) => unlaid.has(one.id) && drawn(one));
      if (!marked) return false;
      lay(marked);
    }
    return true;
  };

  const work = () => {
    if (working) return;
    working = true;
    const next = () => {
      working = step(near);
      if (working) setTimeout(next);
    };
    setTimeout(next);
  };

  const watched = new IntersectionObserver(work, { rootMargin: "50% 0px" });

  Object.assign(page, {
    /** These figures are drawn anew, all of them where none is named: those near the view soon, others when they come there. */
    draw: (some = places().map(({ id }) => id)) => {
      for (const id of some) {
        stale.add(id);
        const place = document.getElementById(id);
        if (!place) continue;
        const figure = page.read("figures").light[id];
        // So that what is below does not jump.
        if (!drawn(place) && (figure || painters[id])) place.style.minHeight = `${figure?.layout.height ?? 360}px`;
        watched.observe(place);
      }
      work();
    },
    /** Draws at once all that is to be drawn. */
    finish: () => {
      while (step(() => true));
    },
    /** A figure that is made here: `paint` gives its data and layout, or nothing. */
    paints: (id, paint) => (painters[id] = paint),
    /** What an owner lays over figures: shapes, as a function of a figure's id and traces. */
    lays: (owner, layer) => (layers[owner] = layer),
    /** Lays anew what lies over figures: those near the view now, others when they come there. */
    overlay: () => {
      for (const place of places().filter(drawn)) unlaid.add(place.id);
      for (const place of places().filter(near)) if (unlaid.has(place.id) && !stale.has(place.id)) lay(place);
      work();
    },
    begin: () => {
      page.draw();
      const first = document.getElementById("frontier");
      if (first) drawOne(first);
      page.renewed();
    },
  });
})();
