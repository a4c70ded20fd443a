// The main job on real input: eight fine-tunes of one ViT become one backbone, three ways; each result is written as a
// Hugging Face folder, read back and verified.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";

const root = fileURLToPath(new URL("..", import.meta.url));
const recipes = ["vision-average", "vision-task-arithmetic", "vision-ties"];

function mergewright(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bin/mergewright.js", ...args, "--json"], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) {
    process.stderr.write(stderr);
    process.exit(status ?? 3);
  }
  return JSON.parse(stdout);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

process.stdout.write("Merging eight vision fine-tunes into one backbone, three ways.\n\n");
const table = new Table({
  head: ["method", "trimmed away", "signs disagree", "seconds", "read + written", "speed", "peak memory", "verified"],
  style: process.stdout.isTTY ? {} : { head: [], border: [] },
});
for (const name of recipes) {
  const out = `out/demo/${name}`;
  rmSync(`${root}/${out}`, { recursive: true, force: true });
  const report = mergewright("merge", `examples/${name}.yaml`, "-o", out);
  const check = mergewright("verify", out);
  const kept = report.models.map((model) => model.kept?.share).filter((share) => share !== undefined);
  const keptShare = kept.reduce((sum, share) => sum + share, 0) / kept.length;
  const { seconds, readBytes, writtenBytes, peakMemoryBytes } = report.cost;
  const bytes = readBytes + writtenBytes;
  table.push([
    `${report.method}/${report.dialect}`,
    kept.length > 0 ? percent(1 - keptShare) : "nothing",
    report.counters.conflicts === undefined ? "not asked" : `${percent(report.counters.conflicts.share)} of entries`,
    seconds.toFixed(2),
    megabytes(bytes),
    `${megabytes(bytes / seconds)}/s`,
    megabytes(peakMemoryBytes),
    check.ok ? `${check.tensors} tensors` : "FAILED",
  ]);
}
process.stdout.write(`${table.toString()}

Written to out/demo/: each a Hugging Face folder with config, weights, model card and provenance, and each task's own head
under heads/. Look further:

  node bin/mergewright.js compare --base zoo/vision/base zoo/vision/mnist zoo/vision/fashion zoo/vision/latin --exclude 'classifier.*'
  node bin/mergewright.js inspect out/demo/vision-ties --norms
  node bin/mergewright.js methods ties
`);
