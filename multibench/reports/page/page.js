"use strict";
(() => {
  const make = (tag, properties = {}, label) => {
    const made = Object.assign(document.createElement(tag), properties);
    if (label) made.setAttribute("aria-label", label);
    return made;
  };

  // Theme: what the system says, or what was chosen here.
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const store = (value) => {
    try { return value === undefined ? localStorage.getItem("theme") : localStorage.setItem("theme", value); }
    catch { return null; } // pages opened from a disk may have no storage
  };
  const show = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(store()) ? store() : "system";
  show(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    store(theme);
    show(theme);
  });

  // Tables: sorted by a click on a heading, filtered by words, long ones page by page.
  const texts = new Intl.Collator(undefined, { numeric: true });
  const wordsOf = (cell) => cell.textContent.replace(/(\d),(?=\d{3})/g, "$1"); // step 20,000 before step 1,000,000
  const compare = (a, b, column) => {
    const [x, y] = [a.cells[column], b.cells[column]];
    if (x.dataset.v !== undefined && y.dataset.v !== undefined) return x.dataset.v - y.dataset.v;
    if ((x.dataset.v === undefined) !== (y.dataset.v === undefined)) return x.dataset.v === undefined ? 1 : -1;
    return texts.compare(wordsOf(x), wordsOf(y));
  };
  for (const table of document.querySelectorAll("figure.table table")) {
    const body = table.tBodies[0];
    let rows = [...body.rows];
    if (rows.length < 2) continue;
    const words = rows.map((row) => row.textContent.toLowerCase());
    const textOf = new Map(rows.map((row, i) => [row, words[i]]));
    const tools = make("div", { className: "tools" });
    const status = make("span");
    status.setAttribute("aria-live", "polite");
    let size = table.dataset.long ? 25 : Infinity;
    let page = 0;

    const refresh = () => {
      const kept = rows.filter((row) => !row.classList.contains("out"));
      const pages = Math.max(1, Math.ceil(kept.length / size));
      page = Math.min(page, pages - 1);
      kept.forEach((row, i) => row.classList.toggle("off", i < page * size || i >= (page + 1) * size));
      const all = kept.length === rows.length ? `${rows.length} rows` : `${kept.length} of ${rows.length} rows`;
      status.textContent = pages > 1 ? `page ${page + 1} of ${pages}, ${all}` : all;
      if (table.dataset.long) { previous.disabled = page === 0; next.disabled = page === pages - 1; }
    };
    const turn = (step) => { page += step; refresh(); };

    const title = table.closest("figure").querySelector("figcaption").firstChild.textContent.trim();
    const filter = make("input", { type: "search", placeholder: "filter rows" }, `Filter: ${title}`);
    filter.addEventListener("input", () => {
      const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        row.classList.toggle("out", !wanted.every((word) => textOf.get(row).includes(word)));
      }
      page = 0;
      refresh();
    });
    const previous = make("button", { type: "button", textContent: "‹ back" }, `Back: ${title}`);
    const next = make("button", { type: "button", textContent: "next ›" }, `Next: ${title}`);
    const all = make("button", { type: "button", textContent: "all" });
    previous.addEventListener("click", () => turn(-1));
    next.addEventListener("click", () => turn(1));
    all.addEventListener("click", () => {
      size = size === Infinity ? 25 : Infinity;
      all.textContent = size === Infinity ? "pages" : "all";
      refresh();
    });
    tools.append(filter, ...(table.dataset.long ? [previous, next, all] : []), status);
    table.parentElement.before(tools);

    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const sorter = make("button", { type: "button", textContent: heading.textContent });
      heading.replaceChildren(sorter);
      if (rows.some((row) => row.cells[column].classList.contains("number"))) heading.classList.add("number");
      sorter.addEventListener("click", () => {
        const descending = heading.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
        rows = [...rows].sort((a, b) => (descending ? compare(b, a, column) : compare(a, b, column)));
        body.append(...rows);
        page = 0;
        refresh();
      });
    });
    refresh();
  }

  // Tooltips: what stands behind a number, by pointer or keyboard; Escape hides it.
  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  const showAt = (target) => {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const [at, own] = [target.getBoundingClientRect(), tip.getBoundingClientRect()];
    tip.style.left = `${Math.max(4, Math.min(at.left, innerWidth - own.width - 4))}px`;
    const below = at.bottom + own.height + 8 < innerHeight;
    tip.style.top = `${below ? at.bottom + 6 : Math.max(4, at.top - own.height - 6)}px`;
    target.setAttribute("aria-describedby", "tip");
  };
  const explain = (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (target) showAt(target);
    else hide();
  };
  document.addEventListener("pointerover", explain);
  document.addEventListener("focusin", explain);
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", () => {
    // Moving to a number by keyboard scrolls to it, and its tooltip goes along.
    if (!tip.hidden && document.activeElement.dataset.tip) showAt(document.activeElement);
    else hide();
  }, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // On paper nothing can be unfolded.
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });
})();
