"""Runs the same merges with Mergewright and with mergekit on the bundled language models and compares every entry.

Run from the repository root after `npm run build`. Prints, per recipe, the largest absolute difference in f32.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
MERGEKIT = ROOT / "peers/.venv/bin/mergekit-yaml"
BASE = "zoo/language/base"
MODELS = ["zoo/language/french", "zoo/language/german"]


def entries(weights, densities=None):
    return [
        {"model": model, "parameters": {"weight": weights[i], **({"density": densities[i]} if densities else {})}}
        for i, model in enumerate(MODELS)
    ]


def flat(weights, densities=None):
    return [
        {"model": model, "weight": weights[i], **({"density": densities[i]} if densities else {})}
        for i, model in enumerate(MODELS)
    ]


CASES = {
    "linear, equal": (
        {"merge_method": "linear", "models": entries([1, 1])},
        {"method": "average", "models": flat([1, 1])},
    ),
    "linear, weighted": (
        {"merge_method": "linear", "models": entries([0.3, 0.9])},
        {"method": "average", "models": flat([0.3, 0.9])},
    ),
    "task_arithmetic": (
        {"merge_method": "task_arithmetic", "base_model": BASE, "models": entries([0.7, -0.4]), "parameters": {"lambda": 0.8}},
        {"method": "task_arithmetic", "base": BASE, "models": flat([0.7, -0.4]), "parameters": {"lambda": 0.8}},
    ),
    "ties, density 0.2": (
        {"merge_method": "ties", "base_model": BASE, "models": entries([1, 1], [0.2, 0.2])},
        {"method": "ties/mergekit", "base": BASE, "models": flat([1, 1], [0.2, 0.2])},
    ),
    "ties, uneven, lambda 0.7": (
        {"merge_method": "ties", "base_model": BASE, "models": entries([0.4, 1.3], [0.35, 0.6]), "parameters": {"lambda": 0.7}},
        {"method": "ties/mergekit", "base": BASE, "models": flat([0.4, 1.3], [0.35, 0.6]), "parameters": {"lambda": 0.7}},
    ),
    "ties, density 1, not normalised": (
        {"merge_method": "ties", "base_model": BASE, "models": entries([0.5, 0.5], [1, 1]), "parameters": {"normalize": False}},
        {"method": "ties/mergekit", "base": BASE, "models": flat([0.5, 0.5], [1, 1]), "parameters": {"merge": "sum"}},
    ),
}


def tensors(folder):
    found = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, framework="pt") as handle:
            for name in handle.keys():
                found[name] = handle.get_tensor(name).to(torch.float64)
    return found


def main():
    worst = 0.0
    for name, (theirs, ours) in CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            scratch = Path(scratch)
            (scratch / "theirs.yaml").write_text(json.dumps({**theirs, "dtype": "float32"}))
            (scratch / "ours.yaml").write_text(json.dumps({**ours, "output": {"dtype": "float32"}}))
            run = dict(cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            subprocess.run([MERGEKIT, scratch / "theirs.yaml", scratch / "theirs", "--no-copy-tokenizer", "--quiet"], **run)
            subprocess.run(["node", "bin/mergewright.js", "merge", scratch / "ours.yaml", "-o", scratch / "ours"], **run)
            a, b = tensors(scratch / "theirs"), tensors(scratch / "ours")
            missing = set(a) ^ set(b)
            differing = 0
            largest = 0.0
            for tensor in a.keys() & b.keys():
                difference = (a[tensor] - b[tensor]).abs()
                largest = max(largest, difference.max().item())
                differing += (difference > 1e-6).sum().item()
            total = sum(tensor.numel() for tensor in a.values())
            worst = max(worst, largest)
            print(f"{name:34} largest difference {largest:.3g}, {differing} of {total} entries differ by more than 1e-6, tensors in only one: {sorted(missing) or 'none'}")
    print(f"worst {worst:.3g}")


if __name__ == "__main__":
    sys.exit(main())
