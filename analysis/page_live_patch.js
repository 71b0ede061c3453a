"use strict";

// Makes what is shown into what is newer, in place: what did not change is not touched, and what the reader did stays. What he
// typed and moved, unfolded and focused, sorted and looks at are properties of elements, so that those must stay the same ones.
const patch = (() => {
  const DRAWN = "figure > div[id]"; // what is in it is Plotly's
  const OURS = "output, [aria-live], #live-state"; // what is in it is written by the page itself
  const STATES = new Set(["open", "hidden", "tabindex", "aria-sort", "data-moved"]); // the page's, where the server has none

  /** By what an element is known again among its siblings; null where its place has to do. */
  const name = (one) => {
    if (one.nodeType !== Node.ELEMENT_NODE) return null;
    const mark = one.id || one.dataset.filters || one.dataset.trial || one.querySelector(":scope > summary, :scope > h2, :scope > h3")?.textContent;
    return mark ? `${one.nodeName} ${mark}` : null;
  }; // prettier-ignore

  const attributes = (old, fresh) => {
    const drawn = old.matches(DRAWN);
    const looks = [fresh.className, old.classList.contains("selected") && "selected"].filter(Boolean).join(" ");
    if (!drawn && old.className !== looks) old.className = looks;
    for (const { name, value } of fresh.attributes)
      if (name !== "class" && name !== "aria-pressed" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of drawn ? [] : [...old.attributes])
      if (name !== "class" && !STATES.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  };

  // White space between elements stays where it is, and comes along with what is new: lines may break there.
  const solid = (one) => one && (one.nodeType !== Node.TEXT_NODE || one.data.trim() !== "");
  const blank = (one) => (one && !solid(one) ? one.cloneNode() : null);
  const from = (one) => {
    while (one && !solid(one)) one = one.nextSibling;
    return one;
  };

  /** Takes an element off the page, and lets go of what Plotly keeps of figures in it. */
  const away = (one) => {
    for (const place of one.querySelectorAll?.(".js-plotly-plot") ?? []) Plotly.purge(place);
    one.remove();
  };

  const children = (old, fresh) => {
    const next = [...fresh.childNodes].filter(solid);
    const wanted = new Set(next.map(name));
    for (const one of [...old.children]) if (name(one) && !wanted.has(name(one))) away(one);
    const named = new Map([...old.children].map((one) => [name(one), one]));
    let at = from(old.firstChild);
    for (const one of next) {
      const mark = name(one);
      const same = mark ? named.get(mark) : at && at.nodeName === one.nodeName && !name(at) ? at : null;
      named.delete(mark);
      if (same === at && same) at = from(at.nextSibling);
      else if (same) old.insertBefore(same, at);
      else for (const each of [blank(one.previousSibling), one, blank(one.nextSibling)].filter(Boolean)) old.insertBefore(each, at);
      if (same) like(same, one);
    }
    while (at) {
      const gone = at;
      at = from(at.nextSibling);
      away(gone);
    }
  };

  const like = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) return void (old.data = fresh.data);
    if (old.matches(OURS)) return;
    attributes(old, fresh);
    // Rows of the table that sorts come by themselves.
    if (!old.matches(DRAWN) && !(old.matches("table.sortable > tbody") && !fresh.firstElementChild)) children(old, fresh);
  };

  /** Makes an element like a fresh one. */
  const element = (old, fresh) => {
    const focused = document.activeElement;
    like(old, fresh);
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true }); // it was moved
  };

  const parsed = (html) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content.firstElementChild;
  };

  /** The value that a difference makes of another one, which stays as it is. */
  const value = (old, difference) => {
    if ("is" in difference) return difference.is;
    if ("put" in difference) return [...old.slice(0, difference.at), ...difference.put, ...old.slice(difference.at + difference.out)];
    const made = Array.isArray(old) ? [...old] : { ...old };
    for (const key of difference.gone) delete made[key];
    for (const [key, inside] of Object.entries(difference.in)) made[key] = value(old[key], inside);
    return made;
  };

  return { away, element, parsed, value };
})();
