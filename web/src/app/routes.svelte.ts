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

/** The route of the window, as reactive state. */
export class Router {
  route = $state.raw<Route>({ page: "map" });
  parameters = $state.raw(new URLSearchParams());
  #pending: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.#read();
    addEventListener("hashchange", this.#read);
  }

  #read = () => {
    const { route, parameters } = parse(location.hash);
    this.route = route;
    this.parameters = parameters;
  };

  /** Opens a page; the browser's back button leads back. */
  go(route: Route, parameters?: URLSearchParams) {
    clearTimeout(this.#pending);
    location.hash = format(route, parameters);
  }

  /** Keeps a part of the view in the link, without a step in the history. */
  set(changes: Record<string, string | null>) {
    const parameters = new URLSearchParams(this.parameters);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) parameters.delete(name);
      else parameters.set(name, value);
    }
    this.parameters = parameters;
    clearTimeout(this.#pending);
    const hash = format(this.route, parameters);
    // Browsers limit how often a page may do this, and a slider asks on every move.
    this.#pending = setTimeout(() => history.replaceState(null, "", hash), 200);
  }

  dispose() {
    clearTimeout(this.#pending);
    removeEventListener("hashchange", this.#read);
  }
}
