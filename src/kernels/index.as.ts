// The entry of the kernels' compilation: every exported function is a kernel.
export * from "./linear/kernel.as";
export * from "./arithmetic/kernel.as";
export * from "./ties/kernel.as";
export * from "./ties/unrolled.as";
export * from "./survey/kernel.as";
export * from "./count/kernel.as";
export * from "./magnitudes/kernel.as";
export * from "./select/kernel.as";
export * from "./quota/kernel.as";
export * from "./convert/kernel.as";
export * from "./checksum/kernel.as";
export * from "./random/kernel.as";
export * from "./relations/kernel.as";
export * from "./finite/kernel.as";
export * from "./nearswap/kernel.as";
export * from "./magmax/kernel.as";
export * from "./consensus/kernel.as";
export * from "./overlap/kernel.as";
export * from "./train_difference/kernel.as";
export * from "./scores/kernel.as";
export * from "./sce/kernel.as";
export * from "./sce/unrolled.as";
export {
  gram_BF16, gram_F16, gram_F32, gram_columns_F32
} from "./gram/kernel.as";
export * from "./gram/unrolled.as";
export * from "./mixture/kernel.as";
export * from "./prune/kernel.as";
export * from "./prune/ranks.as";
export * from "./functions/kernel.as";
export * from "./pcb/kernel.as";
export * from "./pcb/unrolled.as";
export * from "./elect/kernel.as";
export * from "./masks/kernel.as";
export * from "./arcee_fusion/kernel.as";
export * from "./low_rank/kernel.as";
export * from "./fisher/kernel.as";
