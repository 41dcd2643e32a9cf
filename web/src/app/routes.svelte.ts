/**
 * Links. Everything a reader may want to send is in the hash, which works on any static host:
 *
 *     #/                       the map          ?colour=evidence&size=importance&q=march
 *     #/l/12                   a form           ?ax=0,1,2&c=0.35&by=value&null=gaussian&cam=30,20,3
 *     #/compare/12             beside its partner
 *     #/gallery                axes as images
 *     #/compose                a form of one's own  ?m=12:1,40:-0.5
 */

export type Route =
  | { page: "map" }
  | { page: "form"; id: number }
  | { page: "compare"; id: number }
  | { page: "gallery" }
  | { page: "compose" }
  | { page: "unknown"; path: string };

const NAMED = { "": "map", gallery: "gallery", compose: "compose" } as const;

export function parse(hash: string): { route: Route; parameters: URLSearchParams } {
  const [path, query] = hash.replace(/^#?\/?/, "").split("?", 2);
  const parameters = new URLSearchParams(query ?? "");
  const [name, id, ...rest] = path.split("/");
  if ((name === "l" || name === "compare") && /^\d+$/.test(id ?? "") && rest.length === 0) {
    return { route: { page: name === "l" ? "form" : "compare", id: Number(id) }, parameters };
  }
  if (name in NAMED && id === undefined) {
    return { route: { page: NAMED[name as keyof typeof NAMED] }, parameters };
  }
  return { route: { page: "unknown", path }, parameters };
}

export function format(route: Route, parameters = new URLSearchParams()): string {
  const path = {
    map: () => "",
    form: (r: Route) => `l/${"id" in r ? r.id : ""}`,
    compare: (r: Route) => `compare/${"id" in r ? r.id : ""}`,
    gallery: () => "gallery",
    compose: () => "compose",
    unknown: (r: Route) => ("path" in r ? r.path : ""),
  }[route.page](route);
  // Commas and colons are part of our values and need no escape in a hash.
  const query = parameters.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return `#/${path}${query ? `?${query}` : ""}`;
}

/**
 * What is open, as reactive state. In the page of an atlas it is the hash of the window; in a
 * notebook, whose hash is not ours and which may hold several atlases, it is kept in memory.
 */
export class Router {
  route = $state.raw<Route>({ page: "map" });
  parameters = $state.raw(new URLSearchParams());
  readonly #inWindow: boolean;
  #pending: ReturnType<typeof setTimeout> | undefined;

  constructor({ window: inWindow = true }: { window?: boolean } = {}) {
    this.#inWindow = inWindow;
    if (!inWindow) return;
    this.#read();
    addEventListener("hashchange", this.#read);
  }

  #read = () => {
    // The reader is elsewhere now: what was to be kept belonged to the page before.
    this.#forget();
    this.#open(location.hash);
  };

  #open(hash: string) {
    const { route, parameters } = parse(hash);
    this.route = route;
    this.parameters = parameters;
  }

  /** Opens a page; the browser's back button leads back. */
  go(route: Route, parameters?: URLSearchParams) {
    // The way back leads to the view as it was left, also within the pause of `set`.
    if (this.#pending !== undefined) this.#keep();
    const hash = format(route, parameters);
    if (this.#inWindow) location.hash = hash;
    else this.#open(hash);
  }

  /** Opens a page in place of the one that is open: the back button leads to the page before it. */
  replace(route: Route) {
    this.#forget();
    const hash = format(route);
    if (this.#inWindow) history.replaceState(null, "", hash);
    this.#open(hash);
  }

  /** Keeps a part of the view in the link, without a step in the history. */
  set(changes: Record<string, string | null>) {
    const parameters = new URLSearchParams(this.parameters);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) parameters.delete(name);
      else parameters.set(name, value);
    }
    this.parameters = parameters;
    this.#forget();
    if (!this.#inWindow) return;
    // Browsers limit how often a page may do this, and a slider asks on every move.
    this.#pending = setTimeout(() => this.#keep(), 200);
  }

  #keep() {
    this.#forget();
    history.replaceState(null, "", format(this.route, this.parameters));
  }

  #forget() {
    clearTimeout(this.#pending);
    this.#pending = undefined;
  }

  dispose() {
    this.#forget();
    removeEventListener("hashchange", this.#read);
  }
}
