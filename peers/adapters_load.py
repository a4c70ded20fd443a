"""Adapters written by Mergewright, loaded in PEFT: the same logits as the adapters that they were made of.

    npm run --silent build && peers/.venv/bin/python peers/adapters_load.py

For the zoo's adapters: `adapter convert --to peft`, and
where kohya's layout can hold it there and back, must give the same logits to the bit; `adapter fold --dtype float32` must give
those of the unmerged adapter up to float32 rounding (1e-5 of the largest logit).
"""
import os
import subprocess
import sys
import tempfile
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

warnings.filterwarnings("ignore")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
ZOO = os.path.join(ROOT, "zoo", "language")
INPUT = torch.tensor([[0, 5, 9, 3, 8, 2]])


def mergewright(*args):
    return subprocess.run(["node", os.path.join(ROOT, "bin", "mergewright.js"), *args], capture_output=True, text=True)


def base():
    return AutoModelForCausalLM.from_pretrained(os.path.join(ZOO, "base"), dtype=torch.float32).eval()


def logits(model):
    with torch.no_grad():
        return model(INPUT).logits


failed = 0
with tempfile.TemporaryDirectory() as folder:
    for name in ("lora/french", "lora/c", "ia3/german"):
        source = os.path.join(ZOO, name)
        expected = logits(PeftModel.from_pretrained(base(), source).eval())
        copy, kohya, back, folded = (os.path.join(folder, name.replace("/", "-") + end) for end in ("-p", "-k", "-b", "-f"))
        assert mergewright("adapter", "convert", source, "--to", "peft", "-o", copy).returncode == 0
        written = [copy]
        if mergewright("adapter", "convert", source, "--to", "kohya", "-o", kohya).returncode == 0:
            assert mergewright("adapter", "convert", os.path.join(kohya, "lora.safetensors"), "--to", "peft", "-o", back).returncode == 0
            written.append(back)
        for adapter in written:
            same = torch.equal(logits(PeftModel.from_pretrained(base(), adapter).eval()), expected)
            failed += not same
            print(f"{name}: {os.path.basename(adapter)} loads, logits {'equal' if same else 'DIFFER'}")
        answer = mergewright("adapter", "fold", os.path.join(ZOO, "base"), source, "--dtype", "float32", "-o", folded)
        assert answer.returncode == 0, answer.stderr
        found = logits(AutoModelForCausalLM.from_pretrained(folded, dtype=torch.float32).eval())
        apart = ((found - expected).abs().max() / expected.abs().max()).item()
        failed += apart > 1e-5
        print(f"{name}: folded, logits {apart:.1e} apart")
sys.exit(1 if failed else 0)
