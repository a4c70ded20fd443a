"""Merges random adapters of several kinds with PEFT's add_weighted_adapter and with Mergewright, and measures how far the
change of every weight and bias is from the weighted sum of the adapters' own changes (relative, Frobenius). What
Mergewright writes is loaded by PEFT, so every row is also a test that it loads and means the same there.

    python peers/adapters_merge.py                table as Markdown
    python peers/adapters_merge.py --speed A B …  only merges adapters of a Llama's shape by SVD, for npm run bench:adapters

Needs torch and peft (peers/setup.sh) and a built Mergewright.
"""

import argparse
import os
import subprocess
import tempfile
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.join(ROOT, "bin", "mergewright.js")
WEIGHTS = [0.5, 0.7]
warnings.filterwarnings("ignore")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(40, 32)
        self.q = nn.Linear(32, 24)
        self.k = nn.Linear(32, 24)
        self.conv = nn.Conv2d(4, 6, 3)
        self.line = nn.Conv1d(4, 6, 3)

    def forward(self, x):
        return self.q(self.embed(x)) + self.k(self.embed(x))


def net():
    torch.manual_seed(0)
    return Net()


def adapter(folder, seed, **config):
    """A trained-looking adapter: every factor is random."""
    model = get_peft_model(net(), LoraConfig(**config))
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.1
            if "magnitude" in name:
                parameter.data = parameter.data.abs() * 10 + 0.5
    model.save_pretrained(folder)


def change(folder):
    """What an adapter in a folder does to every parameter, by PEFT's own merge_and_unload."""
    base = net()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    merged = PeftModel.from_pretrained(base, folder).merge_and_unload()
    return {name: value - before[name] for name, value in merged.state_dict().items()}


def distance(found, wanted):
    away = sum(((found[name] - wanted[name]) ** 2).sum() for name in wanted)
    whole = sum((wanted[name] ** 2).sum() for name in wanted)
    return float((away / whole).sqrt())


def by_peft(folders, out, kind, rank=None):
    model = PeftModel.from_pretrained(net(), folders[0], adapter_name="a")
    model.load_adapter(folders[1], adapter_name="b")
    more = {} if rank is None else {"svd_rank": rank}
    model.add_weighted_adapter(["a", "b"], WEIGHTS, "merged", combination_type=kind, **more)
    model.save_pretrained(out, selected_adapters=["merged"])
    return os.path.join(out, "merged")


def by_us(folders, out, kind, base, rank=None):
    words = ["node", BIN, "adapter", "merge", *folders, "--weights", ",".join(map(str, WEIGHTS)), "--method", kind]
    words += ["-o", out, "--quiet", *(["--rank", str(rank)] if rank else []), *(["--base", base] if base else [])]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.splitlines()[0])
    return out


LINEAR = ["q", "k"]
CASES = [
    ("LoRA, alpha = r", {"r": 4, "lora_alpha": 4}, {}, ["linear", "cat", "svd"]),
    ("LoRA, alpha = 4 r", {"r": 4, "lora_alpha": 16}, {}, ["cat", "svd"]),
    ("ranks 4 and 6", {"r": 4, "lora_alpha": 8}, {"r": 6}, ["cat", "svd"]),
    ("rsLoRA", {"r": 4, "lora_alpha": 4, "use_rslora": True}, {}, ["cat", "svd"]),
    ("one rsLoRA, one not", {"r": 4, "lora_alpha": 8, "use_rslora": True}, {"use_rslora": False}, ["cat", "svd"]),
    ("rank_pattern", {"r": 4, "lora_alpha": 8, "rank_pattern": {"k": 2}}, {}, ["cat", "svd"]),
    ("lora_bias", {"r": 4, "lora_alpha": 4, "lora_bias": True}, {}, ["cat", "svd"]),
    ("DoRA", {"r": 4, "lora_alpha": 4, "use_dora": True}, {}, ["cat", "svd"]),
    ("embedding", {"r": 4, "lora_alpha": 8, "target_modules": ["embed"]}, {}, ["cat", "svd"]),
    ("Conv2d", {"r": 4, "lora_alpha": 8, "target_modules": ["conv"]}, {}, ["cat", "svd"]),
    ("Conv1d", {"r": 4, "lora_alpha": 8, "target_modules": ["line"]}, {}, ["cat", "svd"]),
    ("different modules", {"r": 4, "lora_alpha": 8, "target_modules": ["q"]}, {"target_modules": ["k"]}, ["cat", "svd"]),
]


def percent(value):
    return "exact" if value < 1e-5 else f"{100 * value:.3g} %"


def attempt(work):
    try:
        return percent(work())
    except Exception as error:  # noqa: BLE001 - what a library raises is the result
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return f"error: {first[:60]}"


def accuracy():
    print("| adapters | way | PEFT | Mergewright |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        from safetensors.torch import save_file

        base = os.path.join(place, "base.safetensors")
        save_file({name: value.contiguous() for name, value in net().state_dict().items()}, base)
        for number, (title, config, other, kinds) in enumerate(CASES):
            folders = [os.path.join(place, f"{number}{letter}") for letter in "ab"]
            common = {"target_modules": LINEAR, **config}
            for seed, (folder, own) in enumerate(zip(folders, [common, {**common, **other}], strict=True)):
                adapter(folder, 100 * number + seed, **own)
            changes = [change(folder) for folder in folders]
            wanted = {n: sum(w * c[n] for w, c in zip(WEIGHTS, changes, strict=True)) for n in changes[0]}
            dora = config.get("use_dora", False)
            for kind in kinds:
                rank = (24 if dora else config["r"] + other.get("r", config["r"])) if kind == "svd" else None
                out = os.path.join(place, f"{number}{kind}")
                theirs = attempt(lambda: distance(change(by_peft(folders, out + "peft", kind, rank)), wanted))
                # What PEFT calls linear is none of ours; the exact sum is.
                own = "cat" if kind == "linear" else kind
                ours = attempt(lambda: distance(change(by_us(folders, out, own, base if dora else None, rank)), wanted))
                print(f"| {title} | {kind} | {theirs} | {ours} |", flush=True)


class Layers(nn.Module):
    """The linear layers that the adapters change, and nothing else."""

    def __init__(self, folder):
        super().__init__()
        from safetensors import safe_open

        with safe_open(os.path.join(folder, "adapter_model.safetensors"), "pt") as file:
            for key in file.keys():
                if ".lora_A." not in key:
                    continue
                path = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight").split(".")
                inner = file.get_slice(key).get_shape()[1]
                outer = file.get_slice(key.replace("lora_A", "lora_B")).get_shape()[0]
                at = self
                for name in path[:-1]:
                    if not hasattr(at, name):
                        at.add_module(name, nn.Module())
                    at = getattr(at, name)
                at.add_module(path[-1], nn.Linear(inner, outer, bias=False))


def speed(folders):
    with torch.no_grad():
        model = PeftModel.from_pretrained(Layers(folders[0]), folders[0], adapter_name="a0")
        for number, folder in enumerate(folders[1:], 1):
            model.load_adapter(folder, adapter_name=f"a{number}")
        names = [f"a{number}" for number in range(len(folders))]
        weights = [0.5 + number / 10 for number in range(len(folders))]
        model.add_weighted_adapter(names, weights, "merged", combination_type="svd", svd_rank=16)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--speed", nargs="+", metavar="ADAPTER")
    given = parser.parse_args()
    if given.speed:
        speed(given.speed)
    else:
        accuracy()
