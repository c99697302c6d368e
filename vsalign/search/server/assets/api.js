// The API, and what the page's address means.
export const PART = 24;
export const FILTERS = ["path", "caption", "min_width"];

/** The JSON of an address; throws an Error with the server's sentence. */
export async function get(path, parameters, signal) {
  const asked = new URLSearchParams(parameters);
  let answer;
  try {
    answer = await fetch(`${path}?${asked}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is it still running?");
  }
  let body = null;
  try { body = await answer.json(); } catch { /* a server in between, whose answer is no JSON */ }
  if (answer.ok && body) return body;
  throw new Error(sentence(body?.error ?? `The server answers ${answer.status}`));
}

/** A part of what is found; state: as of `stateOf`. */
export function find(state, offset, signal) {
  const asked = { offset, limit: PART };
  for (const name of FILTERS) if (state[name]) asked[name] = state[name];
  if (!state.like) return get("/api/search", { ...asked, q: state.q }, signal);
  const place = { number: state.like, key: state.key };
  if (state.box) ["x1", "y1", "x2", "y2"].forEach((side, at) => { place[side] = state.box.split(",")[at] ?? ""; });
  return get("/api/like", { ...asked, ...place }, signal);
}

export const picture = (kind, hit) => `/${kind}/${encodeURIComponent(hit.number)}?${new URLSearchParams({ key: hit.key })}`;

/** What an address asks for. */
export function stateOf(search) {
  const given = new URLSearchParams(search);
  const state = {};
  for (const name of ["q", "like", "key", "box", ...FILTERS]) state[name] = given.get(name) ?? "";
  return state;
}

/** The address that asks for a state. */
export function address(state) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value) given.set(name, value);
  return given.size ? `/?${given}` : "/";
}

export function sentence(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? "" : "."}`;
}
