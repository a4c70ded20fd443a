// The entry of the kernels' compilation: every exported function is a kernel.
export * from "./linear/kernel.as";
export * from "./arithmetic/kernel.as";
export * from "./ties/kernel.as";
export * from "./ties/unrolled.as";
export * from "./survey/kernel.as";
export * from "./count/kernel.as";
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
