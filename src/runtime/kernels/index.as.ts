// The entry of the runtime's kernels: every exported function is a kernel, its twin is in the .ts file of the same name.
export { gemm } from "../../algebra/kernels/gemm.as";
export * from "./heads.as";
export * from "./norm.as";
export * from "./softmax.as";
export * from "./activation.as";
export * from "./elementwise.as";
export * from "./gather.as";
export * from "./rope.as";
export * from "./loss.as";
export * from "./squares.as";
export * from "./experts.as";
