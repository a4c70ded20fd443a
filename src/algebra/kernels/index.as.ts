// The entry of the algebra's kernels: every exported function is a kernel, defined in gemm.ts or vectors.ts.
export { gemm } from "./gemm.as";
export * from "./gemm64.as";
export * from "./vectors.as";
