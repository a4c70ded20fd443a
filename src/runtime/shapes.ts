/** Sizes of a tensor along its axes, outermost first. */
export type Shape = readonly number[];
