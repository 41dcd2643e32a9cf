/** The members of a composed form as they stand in a link: m=12:1,40:-0.5. */
import type { Member } from "./requests";

export const MOST_MEMBERS = 16;
/** Weights of the sliders; links may hold no larger ones either. */
export const LARGEST_WEIGHT = 4;

/** Reads a link; parts that are no member, and ids that are there twice, are left out. */
export function parseMembers(text: string | null): Member[] {
  const members = new Map<number, Member>();
  for (const part of (text ?? "").split(",")) {
    const match = /^(\d{1,9}):(-?\d*\.?\d+)$/.exec(part.trim());
    if (!match || members.size === MOST_MEMBERS) continue;
    const id = Number(match[1]);
    if (!members.has(id)) members.set(id, { id, weight: limited(Number(match[2])) });
  }
  return [...members.values()];
}

export function formatMembers(members: Member[]): string {
  return members.map(({ id, weight }) => `${id}:${weight}`).join(",");
}

/** A weight within the sliders' reach, to two decimals. */
export function limited(weight: number): number {
  if (!Number.isFinite(weight)) return 0;
  const near = Math.round(weight * 100) / 100;
  return Math.min(LARGEST_WEIGHT, Math.max(-LARGEST_WEIGHT, near)) + 0;
}
