"use strict";

// What the other scripts of the page share: its data, and the one trial that is looked at.
const page = (() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  const data = {};
  let printing = false;

  const api = {
    narrow,
    /** The page's data by name, parsed once: "figures" or "facts". */
    read: (id) => (data[id] ??= JSON.parse(document.getElementById(id).textContent)),
    /** Takes newer data in place of what the page came with. */
    take: (id, value) => (data[id] = value),
    theme: () => (dark.matches && !printing ? "dark" : "light"),
    selected: null,
    /** Looks at one trial everywhere; at none with null. */
    select: (trial, { quietly = false } = {}) => {
      api.selected = trial;
      document.dispatchEvent(new CustomEvent("selected", { detail: { trial, quietly } }));
    },
    /** What the page shows is complete, or is another one than before. */
    renewed: () => {
      document.dispatchEvent(new CustomEvent("renewed"));
      api.select(api.selected, { quietly: true });
    },
  };

  const print = (on) => () => {
    printing = on;
    api.draw();
    if (on) api.finish();
  };
  dark.addEventListener("change", () => api.draw());
  narrow.addEventListener("change", () => api.draw());
  window.addEventListener("beforeprint", print(true));
  window.addEventListener("afterprint", print(false));
  return api;
})();
