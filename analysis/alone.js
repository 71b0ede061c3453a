"use strict";

// Figures in the reader's theme, where they have it; what is printed is light.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const figures = JSON.parse(document.getElementById("figures").textContent);
  // Plotly offers by default to send the figure to its cloud. Nothing leaves this page: only what is named here is there.
  const config = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["autoScale2d", "resetScale2d"]],
  }; // prettier-ignore
  const draw = (theme) => {
    for (const [id, themes] of Object.entries(figures)) {
      const { data, layout } = structuredClone(themes[theme] ?? themes.light);
      Plotly.react(document.getElementById(id), data, layout, config);
    }
  };
  const now = () => draw(dark.matches ? "dark" : "light");
  dark.addEventListener("change", now);
  window.addEventListener("beforeprint", () => draw("light"));
  window.addEventListener("afterprint", now);
  now();
})();
