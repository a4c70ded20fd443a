/** Families whose linear layers are transformers' Conv1D, which stores weights in x out. */
const FAMILIES: ReadonlySet<string> = new Set(["gpt2", "openai-gpt", "imagegpt", "decision_transformer"]);
const NAMES = /(?:^|[._])(?:c_attn|c_proj|c_fc|q_attn)$/;

/** Whether a module is one; `null` where the family does not say. */
export function isConv1d(family: string | null, path: string): boolean | null {
  return family !== null && FAMILIES.has(family) ? NAMES.test(path) : null;
}
