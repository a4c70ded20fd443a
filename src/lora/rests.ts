/** What becomes of changed tensors that are no linear or convolution weights. Apart, so that flags load nothing else. */
export type Rest = "save" | "skip";
export const RESTS: readonly Rest[] = ["save", "skip"];
