"use strict";

// Tables: a click on a header sorts, words in the box filter. Listeners stand at the document: tables may be renewed.
(() => {
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  const key = (row, column) => {
    const cell = row.cells[column];
    const raw = cell.dataset.sort ?? cell.textContent.trim();
    return cell.dataset.sort !== undefined && raw !== "" ? Number(raw) : raw;
  };

  const arrange = (table, column, descending) => {
    const header = table.tHead.rows[0].cells[column];
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: key(row, column) }));
    rows.sort((a, b) => {
      // What is missing stays last, whichever way the rest runs.
      if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "");
      return descending ? compare(b.value, a.value) : compare(a.value, b.value);
    });
    page.order(table.tBodies[0], rows.map(({ row }) => row));
  };

  /** Brings rows into an order. Those that are in their place stay, and so does the focus. */
  page.order = (body, rows) => {
    const focused = document.activeElement;
    let at = body.firstElementChild;
    for (const row of rows)
      if (row === at) at = at.nextElementSibling;
      else body.insertBefore(row, at);
    if (body.contains(focused)) focused.focus({ preventScroll: true });
  };

  /** Whether the reader has sorted a table. */
  page.sorted = (id) => id in sorted;

  const sorted = {}; // by table, so that one that is renewed keeps its order

  document.addEventListener("click", ({ target }) => {
    const header = target.closest("table.sortable thead th");
    if (!header) return;
    const table = header.closest("table");
    const descending = header.getAttribute("aria-sort") === "ascending";
    sorted[table.id] = [header.cellIndex, descending];
    arrange(table, header.cellIndex, descending);
  });

  const filter = (box) => {
    const rows = [...document.getElementById(box.dataset.filters).tBodies[0].rows];
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = words.length > 0 && !words.every((word) => row.textContent.toLowerCase().includes(word));
    const visible = rows.filter((row) => !row.hidden).length;
    document.getElementById(box.dataset.filters + "-shown").textContent =
      visible === rows.length ? `${rows.length} trials` : `${visible} of ${rows.length} trials`;
  };

  document.addEventListener("input", ({ target }) => {
    if (target.matches("input[data-filters]")) filter(target);
  });

  document.addEventListener("renewed", () => {
    for (const [id, [column, descending]] of Object.entries(sorted)) {
      const table = document.getElementById(id);
      if (table && column < table.tHead.rows[0].cells.length) arrange(table, column, descending);
    }
    document.querySelectorAll("input[data-filters]").forEach(filter);
  });
})();
