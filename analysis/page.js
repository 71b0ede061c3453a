"use strict";

// The figures, in the theme the reader's system asks for.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
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
  const drawOne = (id, figure) => {
    const { data, layout } = structuredClone(figure);
    if (narrow.matches && layout.coloraxis) {
      // A phone has no room beside the plot: the colour bar goes on top.
      Object.assign(layout.coloraxis.colorbar, { orientation: "h", x: 0.5, y: 1.02, yanchor: "bottom", len: 1 });
      layout.coloraxis.colorbar.title.side = "top";
    }
    // Its buttons would lie on the options' topmost panels.
    const bar = id === "frontier" ? {} : { displayModeBar: false };
    return Plotly.react(document.getElementById(id), data, layout, { ...config, ...bar });
  };
  const draw = (theme) => Object.entries(figures[theme]).forEach(([id, figure]) => drawOne(id, figure));
  const redraw = () => draw(dark.matches ? "dark" : "light");
  redraw();
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => draw("light"));
  window.addEventListener("afterprint", redraw);
})();

// Tables: a click on a header sorts, words in the box filter.
(() => {
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  const key = (row, column) => {
    const cell = row.cells[column];
    const raw = cell.dataset.sort ?? cell.textContent.trim();
    return cell.dataset.sort !== undefined && raw !== "" ? Number(raw) : raw;
  };

  const sort = (table, header) => {
    const column = header.cellIndex;
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: key(row, column) }));
    rows.sort((a, b) => {
      // What is missing stays last, whichever way the rest runs.
      if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "");
      return descending ? compare(b.value, a.value) : compare(a.value, b.value);
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
  };

  for (const table of document.querySelectorAll("table.sortable"))
    for (const header of table.tHead.rows[0].cells)
      header.querySelector("button").addEventListener("click", () => sort(table, header));

  for (const box of document.querySelectorAll("input[data-filters]")) {
    const rows = [...document.getElementById(box.dataset.filters).tBodies[0].rows];
    const shown = document.getElementById(box.dataset.filters + "-shown");
    const filter = () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
      const visible = rows.filter((row) => !row.hidden).length;
      shown.textContent = visible === rows.length ? `${rows.length} trials` : `${visible} of ${rows.length} trials`;
    };
    box.addEventListener("input", filter);
    filter();
  }
})();
