"""How far the two SVD goldens of the zoo (peft_golden/svd, ties_svd) are from what PEFT computes of the same adapters in float64,
matrix by matrix, for test/lora/goldens.json: they were made on a GPU with matrix products of reduced precision.

    peers/.venv/bin/python peers/adapter_goldens.py          writes test/lora/goldens.json
"""
import json
import os

import torch
from peft.utils.merge_utils import task_arithmetic, ties
from safetensors.torch import load_file

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
ZOO = os.path.join(ROOT, "zoo", "language")
WEIGHTS = torch.tensor([0.5, 0.4, 0.3, 0.6], dtype=torch.float64)
HEAD = "base_model.model."


def load(*folder):
    return load_file(os.path.join(ZOO, *folder, "adapter_model.safetensors"))


def update(tensors, path, scaling):
    a, b = (tensors[f"{HEAD}{path}.lora_{side}.weight"].double() for side in "AB")
    return scaling * (b @ a)


adapters = [load("lora", name) for name in ("french", "german", "python", "c")]
paths = sorted({key.removeprefix(HEAD).rsplit(".lora_", 1)[0] for key in adapters[0]})
found = {}
for name, merge in (("svd", task_arithmetic), ("ties_svd", lambda parts, weights: ties(parts, weights, 0.5))):
    golden = load("peft_golden", name, "merged")
    found[name] = {}
    for path in paths:
        merged = merge([update(tensors, path, 2.0) for tensors in adapters], WEIGHTS)
        u, s, vh = torch.linalg.svd(merged, full_matrices=False)
        best = (u[:, :8] * s[:8]) @ vh[:8]
        theirs = update(golden, path, 1.0)
        found[name][path] = round(float((best - theirs).norm() / theirs.norm()), 9)
    print(name, "worst", max(found[name].values()))
with open(os.path.join(ROOT, "test", "lora", "goldens.json"), "w") as file:
    json.dump(found, file, indent=1)
