// The grid of results: a tile a picture, more of them as they are scrolled to.
import { picture, sentence } from "./api.js";

const grid = document.getElementById("results");
const end = document.getElementById("end");

export const tiles = () => [...grid.querySelectorAll(".tile")];

export function clear() {
  grid.replaceChildren();
}

/** Add tiles; `open(number)` is called with a tile's place in the grid. */
export function add(hits, open) {
  const first = tiles().length;
  grid.append(...hits.map((hit, at) => tile(hit, () => open(first + at))));
}

function tile(hit, open) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "tile";
  button.addEventListener("click", open);
  const frame = document.createElement("span");
  frame.className = "thumbnail";
  const image = document.createElement("img");
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  image.addEventListener("error", () => failed(frame, image), { once: true });
  image.src = picture("thumbnails", hit);
  frame.append(image);
  const said = document.createElement("span");
  said.className = "said";
  said.dir = "auto";
  said.textContent = (hit.caption || hit.image_id).slice(0, 300);
  button.append(frame, said);
  item.append(button);
  return item;
}

/** In place of a picture that cannot be shown: why. */
async function failed(frame, image) {
  const why = document.createElement("span");
  why.className = "missing";
  why.textContent = await reason(image.src);
  frame.replaceChildren(why);
}

export async function reason(source) {
  try {
    const answer = await fetch(source);
    return answer.ok ? "The picture cannot be shown." : sentence((await answer.json()).error);
  } catch {
    return "The picture cannot be loaded.";
  }
}

/** Call `reach` whenever the end of the grid comes near. */
export function watchEnd(reach) {
  const watcher = new IntersectionObserver((seen) => { if (seen.some((each) => each.isIntersecting)) reach(); },
    { rootMargin: "800px" });
  watcher.observe(end);
  return () => end.getBoundingClientRect().top < innerHeight + 800;
}

/** The arrow keys go from tile to tile; false for other keys. */
export function step(key, from) {
  const all = tiles();
  if (!all.length) return false;
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (!by) return false;
  const at = all.indexOf(from);
  const next = at < 0 ? all[0] : all[at + by];
  next?.focus();
  return Boolean(next);
}
