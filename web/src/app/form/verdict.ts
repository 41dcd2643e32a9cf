/** What the evidence says of a form's points, in words. */
import type { Kind, Score, Shape, Statistic } from "../../data/types";

/** The score that a shape is read from. */
const DECIDES: Record<Shape, string> = {
  ring: "ring",
  curved: "dimension",
  clusters: "clustering",
  blob: "ring",
  unscored: "ring",
};

const SHAPE_TITLES: Record<Shape, string> = {
  ring: "Ring",
  curved: "Curved sheet",
  clusters: "Clusters",
  blob: "No shape found",
  unscored: "Not scored",
};

const NULL_TITLES: Record<string, string> = {
  gaussian: "Gaussian clouds of as many points",
  random_forms: "random forms of like effective rank",
  shuffled_labels: "shuffled labels",
};

export interface Verdict {
  title: string;
  /** Null where nothing was scored. */
  pValue: number | null;
  sentence: string;
}

export function verdict(shape: Shape, scores: readonly Score[]): Verdict {
  const title = SHAPE_TITLES[shape];
  const deciding = scores.filter(({ name }) => name === DECIDES[shape]);
  if (shape === "unscored" || deciding.length === 0) {
    return { title, pValue: null, sentence: "There are no scores for its points." };
  }
  // It must stand against every null, so the largest p is the one to report.
  const pValue = Math.max(...deciding.map((score) => score.pValue));
  const against = listed(deciding.map((score) => nullTitle(score.null)));
  const draws = Math.max(...deciding.map((score) => score.draws));
  const what = spelled(deciding[0].name).toLowerCase();
  return {
    title,
    pValue,
    sentence: `${statedP(pValue)} for its ${what}, against ${draws} draws of ${against}`,
  };
}

/** Whether anything is to be said of a form's evidence: outputs of a model are not examined. */
export function isScored(kind: Kind, scores: readonly Score[]): boolean {
  return scores.length > 0 || (kind !== "output" && kind !== "composed");
}

/** What a score is called and how it is defined: as the atlas has it, where it lists it at all. */
export function described(
  name: string,
  statistics: readonly Statistic[],
): { title: string; definition: string | null } {
  const listed = statistics.find((statistic) => statistic.name === name);
  return listed ?? { title: spelled(name), definition: null };
}

export function nullTitle(name: string): string {
  return NULL_TITLES[name] ?? spelled(name).toLowerCase();
}

/** Scores by name in their order, each with its nulls. */
export function byName(scores: readonly Score[]): { name: string; value: number; nulls: Score[] }[] {
  const groups = new Map<string, Score[]>();
  for (const score of scores) groups.set(score.name, [...(groups.get(score.name) ?? []), score]);
  return [...groups].map(([name, nulls]) => ({ name, value: nulls[0].value, nulls }));
}

export function statedP(p: number): string {
  return p < 0.001 ? "p < 0.001" : `p = ${Number(p.toPrecision(2))}`;
}

function spelled(name: string): string {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function listed(parts: string[]): string {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}
