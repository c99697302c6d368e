"use strict";
// Works from file://: no fetch, no module, nothing from outside. Without it the page still shows everything.
(() => {
  const body = document.body;
  const { page, pages, base, index, searchFiles } = body.dataset;
  const cards = [...document.querySelectorAll(".card")];
  const query = document.getElementById("q");
  const found = document.getElementById("found");
  const elsewhere = document.getElementById("elsewhere");
  const showBoxes = document.getElementById("show-boxes");
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const spoken = ".region, .phrase";

  // A region's box, its caption and its phrases light up together.
  function point(card, number) {
    for (const lit of document.querySelectorAll(".card.pointing")) {
      lit.classList.remove("pointing");
      for (const part of lit.querySelectorAll(".on")) part.classList.remove("on");
    }
    if (!card || !number) return;
    const parts = card.querySelectorAll(`[data-n="${number}"]`);
    for (const part of parts) part.classList.add("on");
    card.classList.toggle("pointing", Boolean(card.querySelector(".box.on")));
  }
  const target = (event) => (event.target instanceof Element ? event.target.closest("[data-n]") : null);
  const focused = () => {
    const part = document.activeElement?.closest?.("[data-n]");
    point(part?.closest(".card"), part?.dataset.n);
  };
  document.addEventListener("pointerover", (event) => {
    const part = target(event);
    if (part) point(part.closest(".card"), part.dataset.n);
  });
  document.addEventListener("pointerout", (event) => { if (target(event)) focused(); });
  document.addEventListener("focusin", focused);
  document.addEventListener("focusout", () => point(null));
  document.addEventListener("click", (event) => {
    const part = target(event);
    if (!part) return;
    const card = part.closest(".card");
    if (part.matches(".box")) {
      const said = card.querySelector(`.region[data-n="${part.dataset.n}"], .phrase[data-n="${part.dataset.n}"]`);
      said?.closest("details")?.setAttribute("open", "");
      said?.focus({ preventScroll: true });
    }
    point(card, part.dataset.n); // Safari does not focus a button that is tapped
  });

  // One tab stop for the regions of a picture; the arrow keys go from one to the next.
  for (const card of cards) {
    [...card.querySelectorAll(spoken)].forEach((part, i) => { part.tabIndex = i ? -1 : 0; });
  }
  function step(part, by) {
    const all = [...part.closest(".card").querySelectorAll(spoken)].filter((other) => other.getClientRects().length);
    const next = all[all.indexOf(part) + by];
    if (!next) return;
    for (const other of all) other.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
  const turn = (relation, hash) => {
    const link = document.querySelector(`link[rel="${relation}"]`);
    if (link) location.href = link.getAttribute("href") + hash;
  };
  function go(by) {
    const open = cards.filter((card) => !card.hidden);
    const here = document.activeElement?.closest?.(".card");
    let at = open.indexOf(here) + by;
    if (!here) at = Math.max(0, open.findIndex((card) => card.getBoundingClientRect().bottom > 120));
    if (at < 0) return turn("prev", "#last");
    if (at >= open.length) return turn("next", "#first");
    open[at].focus({ preventScroll: true });
    open[at].scrollIntoView({ block: "nearest" });
  }
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target === query) {
      if (event.key === "Escape") { query.value = ""; filter(); query.blur(); }
      return;
    }
    const part = document.activeElement?.closest?.(spoken);
    const keys = {
      ArrowRight: () => go(1), ArrowLeft: () => go(-1),
      "/": () => query.focus(), b: () => { showBoxes.checked = !showBoxes.checked; boxes(); },
      "[": () => turn("prev", ""), "]": () => turn("next", ""), Escape: () => document.activeElement?.blur(),
    };
    if (part) Object.assign(keys, { ArrowDown: () => step(part, 1), ArrowUp: () => step(part, -1) });
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });

  const boxes = () => body.classList.toggle("no-boxes", !showBoxes.checked);
  showBoxes.addEventListener("change", boxes);

  // The words of this page are on it; those of the other pages are in search files, read when asked for.
  const words = new Map();
  function textOf(card) {
    if (!words.has(card)) words.set(card, plain(card.querySelector(".text").textContent));
    return words.get(card);
  }
  const terms = () => plain(query.value).split(/\s+/).filter(Boolean);
  function filter() {
    const asked = terms();
    let shown = 0;
    for (const card of cards) {
      card.hidden = !asked.every((term) => textOf(card).includes(term));
      shown += !card.hidden;
    }
    elsewhere.hidden = true;
    document.getElementById("nothing").hidden = shown > 0 || !cards.length;
    found.textContent = asked.length ? `${shown} of ${cards.length} on this page` : "";
  }
  let waiting = 0;
  query.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 80); });

  const catalogue = [];
  window.vsalignSearch = (entries) => { for (const [at, text] of entries) catalogue.push([at, plain(text)]); };
  let loading = null;
  function load() {
    const one = (number) => new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = `${base}search-${String(number).padStart(4, "0")}.js`;
      script.onload = done;
      script.onerror = () => failed(new Error(script.src));
      document.head.append(script);
    });
    loading ??= (async () => { for (let n = 1; n <= Number(searchFiles); n += 1) await one(n); })();
    return loading;
  }
  const pad = (number) => String(number).padStart(4, "0");
  const pageHref = (number) => (number === 1 ? index : `${base}page-${pad(number)}.html`);
  document.querySelector(".tools").addEventListener("submit", async (event) => {
    event.preventDefault();
    filter();
    const asked = terms();
    if (!asked.length || Number(pages) === 1) return;
    elsewhere.hidden = false;
    elsewhere.textContent = "Searching all pages …";
    try { await load(); } catch (error) {
      elsewhere.textContent = `The search file ${error.message} is missing.`;
      return;
    }
    const hits = new Map();
    for (const [at, text] of catalogue) {
      if (at !== Number(page) && asked.every((term) => text.includes(term))) hits.set(at, (hits.get(at) ?? 0) + 1);
    }
    const total = [...hits.values()].reduce((sum, count) => sum + count, 0);
    elsewhere.textContent = total ? `${total} on other pages: ` : "None on other pages.";
    for (const [at, count] of [...hits].slice(0, 60)) {
      const link = document.createElement("a");
      link.href = `${pageHref(at)}#q=${encodeURIComponent(query.value)}`;
      link.textContent = `page ${at} (${count})`;
      elsewhere.append(link);
    }
    if (hits.size > 60) elsewhere.append(` and ${hits.size - 60} more pages`);
  });

  function arrive() {
    if (location.hash.startsWith("#q=")) {
      try { query.value = decodeURIComponent(location.hash.slice(3)); } catch { return; }
      filter();
    } else if (location.hash === "#first") cards[0]?.focus();
    else if (location.hash === "#last") cards.at(-1)?.focus();
  }
  window.addEventListener("hashchange", arrive);
  boxes();
  arrive();
})();
