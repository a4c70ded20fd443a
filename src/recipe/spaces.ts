/** Where elementwise methods see the updates of adapters. A file of its own, so that flags load nothing else. */
export type Space = "core" | "full" | "knots";
export const SPACES: readonly Space[] = ["core", "full", "knots"];
