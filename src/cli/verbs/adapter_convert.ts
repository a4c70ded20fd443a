import { convertAdapter } from "../../adapters/convert.js";
import type { AdapterFormat } from "../../adapters/convert.js";
import { BaseNames } from "../../adapters/target.js";
import { MergewrightError } from "../../errors.js";
import { openAdapterAt, writeFolder } from "../../platform/node/adapters.js";
import { openModel } from "../../platform/node/platform.js";
import { sizeText } from "../../report/units.js";
import { refuseForeign } from "../output.js";
import { facts } from "../table.js";
import type { Given, Outcome } from "../verb.js";

export async function convert({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const [label] = positionals as [string];
  const out = flags.out!;
  refuseForeign(flags);
  const to = layoutOf(flags.to!);
  const names = flags.base === undefined ? null : await namesOf(flags.base);
  const adapter = await openAdapterAt(label);
  try {
    const files = await convertAdapter(adapter, {
      to,
      names,
      ...(flags.prefix !== undefined && { prefix: flags.prefix }),
    });
    writeFolder(out, files, { force: flags.force ?? false });
    const outputs = [...files].map(([file, { length }]) => ({ file, bytes: length }));
    const report = {
      adapter: label,
      out,
      from: adapter.format,
      to,
      modules: adapter.lora.size + adapter.ia3.size,
      outputs,
    };
    const rows = outputs.map(({ file, bytes }) => ["wrote", `${out}/${file}, ${sizeText(bytes)}`] as const);
    return { exitCode: 0, json: report, text: () => facts(rows, terminal) };
  } finally {
    await adapter.close();
  }
}

function layoutOf(text: string): AdapterFormat {
  if (text === "peft" || text === "kohya") return text;
  throw new MergewrightError("--to has a wrong value", {
    kind: "request",
    code: "usage",
    where: { key: "--to" },
    expected: "peft or kohya",
    found: JSON.stringify(text),
  });
}

async function namesOf(base: string): Promise<BaseNames> {
  const checkpoint = await openModel(base);
  try {
    return new BaseNames(checkpoint.tensors.keys());
  } finally {
    await checkpoint.close();
  }
}
