/** Tensors with the same arguments go into one stage, so that threads never wait between them. */
export function stagesOf<A>(
  tensors: readonly number[],
  argsOf: (tensor: number) => A,
): { readonly args: A; readonly tensors: number[] }[] {
  const stages = new Map<string, { args: A; tensors: number[] }>();
  for (const index of tensors) {
    const args = argsOf(index);
    const key = JSON.stringify(args, (_, value: unknown) => (value === Number.POSITIVE_INFINITY ? "Infinity" : value));
    const stage = stages.get(key);
    if (stage === undefined) stages.set(key, { args, tensors: [index] });
    else stage.tensors.push(index);
  }
  return [...stages.values()];
}
