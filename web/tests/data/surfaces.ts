/** SURFACES of src/quadric/atlas/folder/synthetic.py: Σλp² + b·p₃ = level holds for the present points. */
export const SURFACES = [
  { name: "ellipsoid", eigenvalues: [1, 0.7, 0.5], level: 1, slope: 0 },
  { name: "one-sheet hyperboloid", eigenvalues: [1, 0.8, -0.6], level: 1, slope: 0 },
  { name: "two-sheet hyperboloid", eigenvalues: [1, -0.8, -0.7], level: 1, slope: 0 },
  { name: "cone", eigenvalues: [1, -0.9, 0.8], level: 0, slope: 0 },
  { name: "elliptic cylinder", eigenvalues: [1, 0.7, 0], level: 1, slope: 0 },
  { name: "hyperbolic cylinder", eigenvalues: [1, -0.7, 0], level: 1, slope: 0 },
  { name: "elliptic paraboloid", eigenvalues: [1, 0.6, 0], level: 1, slope: 0.8 },
  { name: "hyperbolic paraboloid", eigenvalues: [1, -0.6, 0], level: 0, slope: 0.8 },
  { name: "parallel planes", eigenvalues: [1, 0, 0], level: 1, slope: 0 },
  { name: "intersecting planes", eigenvalues: [1, -0.6, 0], level: 0, slope: 0 },
];
