// The page: its address is what is asked, so that back, forward and bookmarks work.
import { FILTERS, address, find, get, picture, sentence, stateOf } from "./api.js";
import * as grid from "./grid.js";
import * as dialog from "./picture.js";

const by = (id) => document.getElementById(id);
const [form, said] = [by("ask"), by("said")];
const LATE = 150; // ms without an answer after which it is said that one is waited for
let state = null;
let found = [];
let tokens = [];
let more = false;
let running = null;
let shown = -1;
let index = null;

// The token came by the address, and lies in a cookie now: it is not to be copied along.
if (new URLSearchParams(location.search).has("token")) {
  const rest = new URLSearchParams(location.search);
  rest.delete("token");
  history.replaceState(null, "", rest.size ? `/?${rest}` : "/");
}

function start() {
  state = stateOf(location.search);
  form.elements.q.value = state.q;
  for (const name of FILTERS) form.elements[name].value = state[name];
  by("filters").open = FILTERS.some((name) => state[name]);
  by("like").hidden = !state.like;
  if (state.like) {
    by("like-picture").src = picture("thumbnails", { number: state.like, key: state.key });
    by("like-said").textContent = state.box ? "Pictures with something like a part of this one" : "Pictures like this one";
  }
  document.title = state.q ? `${state.q.slice(0, 80)} · Find photographs` : "Find photographs";
  found = [];
  tokens = [];
  more = false;
  shown = -1;
  grid.clear();
  if (state.q || state.like) return load();
  running?.abort();
  return welcome();
}

async function welcome() {
  said.textContent = "";
  try {
    index ??= await get("/api/index", {});
  } catch (error) {
    said.textContent = error.message;
    return;
  }
  if (state.q || state.like) return;
  const count = index.images.toLocaleString("en");
  said.textContent = index.images
    ? `${count} ${index.images === 1 ? "photograph" : "photographs"}: say what one of them shows.`
    : "The index has no photographs.";
}

/** Fetch the next part of what is asked, and show it. */
async function load() {
  running?.abort();
  const mine = running = new AbortController();
  const first = !found.length;
  by("results").setAttribute("aria-busy", "true");
  const late = setTimeout(() => { said.textContent = first ? "Searching …" : "Loading more …"; }, LATE);
  try {
    const answer = await find(state, found.length, mine.signal);
    const known = new Set(found.map((hit) => hit.key + hit.number));
    // Where the index has changed since the part before, a picture may come twice.
    const hits = answer.hits.filter((hit) => !known.has(hit.key + hit.number));
    tokens = answer.tokens;
    more = answer.more && hits.length > 0;
    found.push(...hits);
    grid.add(hits, open);
    clearTimeout(late);
    said.textContent = told(answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    more = false;
    said.textContent = error.message;
  } finally {
    clearTimeout(late);
    if (running === mine) {
      running = null;
      by("results").removeAttribute("aria-busy");
    }
  }
  if (more && endIsNear()) load();
}

function told(answer) {
  const unknown = answer.unknown.length ? ` The model does not know: ${answer.unknown.join(", ").slice(0, 300)}.` : "";
  const filtered = FILTERS.some((name) => state[name]);
  if (!found.length) return `${filtered ? "Nothing is found there: change the filters." : "Nothing is found."}${unknown}`;
  const count = `${found.length}${more ? " and more" : ""} ${found.length === 1 && !more ? "picture" : "pictures"}`;
  return sentence(found.length === 1 ? count : `${count}, the best first`) + unknown;
}

const endIsNear = grid.watchEnd(() => { if (more && !running) load(); });

function ask(next) {
  const to = address(next);
  if (to !== location.pathname + location.search) history.pushState(null, "", to);
  start();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const filters = Object.fromEntries(FILTERS.map((name) => [name, form.elements[name].value.trim()]));
  const q = form.elements.q.value.trim();
  const like = q && q !== state.q ? {} : { like: state.like, key: state.key, box: state.box };
  ask({ q, ...like, ...filters });
  if (matchMedia("(pointer: coarse)").matches) form.elements.q.blur(); // the keyboard of a phone goes
});
by("like-end").addEventListener("click", () => {
  ask(Object.fromEntries(FILTERS.map((name) => [name, state[name]])));
  form.elements.q.focus();
});

function open(at) {
  const hit = found[at];
  if (!hit) return;
  if (shown < 0) history.pushState({ shown: true }, "");
  shown = at;
  dialog.show(hit, tokens);
  by("before").disabled = at === 0;
  by("after").disabled = at === found.length - 1 && !more;
}

async function step(way) {
  if (shown + way >= found.length && more && !running) await load();
  open(shown + way);
}

dialog.when({
  step,
  closed() {
    const at = shown;
    shown = -1;
    if (history.state?.shown) history.back();
    grid.tiles()[at]?.focus();
  },
  like(hit, part) {
    const filters = Object.fromEntries(FILTERS.map((name) => [name, state[name]]));
    const next = { like: String(hit.number), key: hit.key, box: part ? part.join(",") : "", ...filters };
    // The dialog's own place in the history becomes that of the new search: back leads to the one before.
    history.replaceState(null, "", address(next));
    dialog.close();
    start();
    scrollTo(0, 0);
  },
});

addEventListener("popstate", () => {
  if (dialog.isOpen()) dialog.close();
  if (address(stateOf(location.search)) !== address(state)) start();
});

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || dialog.isOpen()) return;
  const focused = document.activeElement;
  if (focused?.matches("input")) {
    if (event.key === "ArrowDown" && focused === form.elements.q && grid.step("ArrowDown", null)) event.preventDefault();
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    form.elements.q.focus();
    form.elements.q.select();
  } else if (grid.step(event.key, focused)) {
    event.preventDefault();
  }
});

if (!matchMedia("(pointer: coarse)").matches) form.elements.q.focus();
start();
