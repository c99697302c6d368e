// The dialog: a picture, what in it answers, and what to search for next.
import { picture as address } from "./api.js";
import { reason } from "./grid.js";

const COLOURS = 8;
const SMALLEST = 8; // px on the screen: less is a click
const by = (id) => document.getElementById(id);
const [dialog, frame, image, phrases, more] = ["shown", "frame", "picture", "phrases", "more"].map(by);
let hit = null;
let part = null; // x1, y1, x2, y2 in px of the picture; null: the whole of it

/** Show a hit; tokens: the words that were asked. */
export function show(shown, tokens) {
  hit = shown;
  frame.style.setProperty("--ratio", hit.width / hit.height);
  by("picture-failed").hidden = true;
  frame.hidden = false;
  frame.querySelectorAll(".box").forEach((box) => box.remove());
  image.alt = hit.caption.slice(0, 300) || hit.image_id;
  image.src = address("pictures", hit);
  by("caption").textContent = hit.caption;
  by("captioned").hidden = !hit.caption;
  by("shown-name").textContent = hit.image_id;
  by("facts").textContent = `${hit.width} × ${hit.height} px, score ${hit.score.toFixed(3)}`;
  by("answer-title").textContent = tokens.length ? "What answers" : "What looks like it";
  phrases.replaceChildren(...hit.places.map(phrase));
  frame.append(...hit.places.map((place, at) => box(place.box, at)));
  choose(null);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

export const isOpen = () => dialog.open;
export const close = () => dialog.close();

const colour = (at) => `c${1 + (at % COLOURS)}`;

function phrase(place, at) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = `phrase ${colour(at)}`;
  button.dataset.at = at;
  button.setAttribute("aria-pressed", "false");
  button.dir = "auto";
  button.textContent = place.phrase || "this part";
  button.addEventListener("click", () => choose(part === place.box ? null : place.box));
  for (const [event, lit] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) {
    button.addEventListener(event, () => light(lit ? at : null));
  }
  item.append(button);
  return item;
}

function box(sides, at) {
  const drawn = document.createElement("div");
  drawn.className = at === null ? "box chosen" : `box ${colour(at)}`;
  if (at !== null) drawn.dataset.at = at;
  place(drawn, sides);
  return drawn;
}

function place(drawn, [x1, y1, x2, y2]) {
  drawn.style.left = `${100 * x1 / hit.width}%`;
  drawn.style.top = `${100 * y1 / hit.height}%`;
  drawn.style.width = `${100 * (x2 - x1) / hit.width}%`;
  drawn.style.height = `${100 * (y2 - y1) / hit.height}%`;
}

/** Light a phrase and its box up; null: the chosen one, or none. */
function light(at) {
  const chosen = hit.places.findIndex((each) => each.box === part);
  const lit = at ?? (chosen < 0 ? null : chosen);
  frame.classList.toggle("pointing", lit !== null);
  for (const each of dialog.querySelectorAll("[data-at]")) each.classList.toggle("on", each.dataset.at === String(lit));
}

/** What `more` searches for. */
function choose(sides) {
  part = sides;
  frame.querySelector(".chosen")?.remove();
  const own = hit.places.findIndex((each) => each.box === sides);
  if (sides && own < 0) frame.append(box(sides, null));
  phrases.querySelectorAll("button").forEach((each, at) => each.setAttribute("aria-pressed", String(at === own)));
  more.textContent = sides ? "More like this part" : "More like this picture";
  light(null);
}

function dragged(event, start) {
  const { left, top, width, height } = frame.getBoundingClientRect();
  const at = (x, y) => [x - left, y - top].map((side, axis) => Math.min(Math.max(side / [width, height][axis], 0), 1));
  const [[ax, ay], [bx, by_]] = [at(start.clientX, start.clientY), at(event.clientX, event.clientY)];
  const small = Math.abs(ax - bx) * width < SMALLEST || Math.abs(ay - by_) * height < SMALLEST;
  const sides = [Math.min(ax, bx), Math.min(ay, by_), Math.max(ax, bx), Math.max(ay, by_)];
  return small ? null : sides.map((side, axis) => Math.round(side * (axis % 2 ? hit.height : hit.width) * 10) / 10);
}

let start = null;
frame.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  start = event;
  frame.setPointerCapture(event.pointerId);
});
frame.addEventListener("pointermove", (event) => { if (start) choose(dragged(event, start)); });
frame.addEventListener("pointerup", (event) => {
  if (!start) return;
  choose(dragged(event, start) ?? touched(event));
  start = null;
});
frame.addEventListener("pointercancel", () => { start = null; });
frame.addEventListener("dragstart", (event) => event.preventDefault());

/** The smallest of the boxes at a point. */
function touched(event) {
  const { left, top, width, height } = frame.getBoundingClientRect();
  const [x, y] = [(event.clientX - left) / width * hit.width, (event.clientY - top) / height * hit.height];
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  const under = hit.places.map((each) => each.box).filter(([x1, y1, x2, y2]) => x1 <= x && x <= x2 && y1 <= y && y <= y2);
  return under.sort((one, other) => area(one) - area(other))[0] ?? null;
}

image.addEventListener("error", async () => {
  if (!hit || !image.getAttribute("src")) return;
  const source = image.src;
  const why = await reason(source);
  if (source !== image.src) return;
  by("picture-failed").textContent = why;
  by("picture-failed").hidden = false;
  frame.hidden = true;
});

/** Call these with what the person wants. */
export function when({ closed, like, step }) {
  dialog.addEventListener("close", () => { image.removeAttribute("src"); closed(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  by("close").addEventListener("click", () => dialog.close());
  by("before").addEventListener("click", () => step(-1));
  by("after").addEventListener("click", () => step(1));
  more.addEventListener("click", () => like(hit, part));
  dialog.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    step(way);
  });
}
