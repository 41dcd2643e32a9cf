/** Numbers that look random and are the same for the same seed, in every browser. */

export type Random = () => number;

/** Uniform in [0, 1): a counter in steps of an odd number, whose bits are then mixed. */
export function random(seed: number): Random {
  let counter = seed >>> 0;
  return () => {
    counter = (counter + 0x9e3779b9) >>> 0;
    let bits = counter;
    bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d);
    bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
    return ((bits ^ (bits >>> 16)) >>> 0) / 2 ** 32;
  };
}

/** One draw of the standard normal distribution, after Box and Muller. */
export function normal(draw: Random): number {
  // 1 − u is never zero, and its logarithm finite.
  return Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
}
