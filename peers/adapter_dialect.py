"""What PEFT's add_weighted_adapter makes of small random adapters on a CPU, for test/lora/dialect.test.ts: every combination
that is not random, adapters of the kinds that it drops or scales wrongly among them.

    peers/.venv/bin/python peers/adapter_dialect.py          writes test/lora/fixtures/dialect.json and .safetensors
"""
import json
import os
import tempfile
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
OUT = os.path.join(ROOT, "test", "lora", "fixtures")
warnings.filterwarnings("ignore")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.q = nn.Linear(8, 6)
        self.k = nn.Linear(8, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.q(self.embed(x)) + self.k(self.embed(x)))


def net():
    torch.manual_seed(0)
    return Net()


def adapter(folder, seed, **config):
    model = get_peft_model(net(), LoraConfig(**config))
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data = torch.randn_like(parameter)
            if "magnitude" in name:
                parameter.data = parameter.data.abs() + 0.5
    model.save_pretrained(folder)


SVD = [("svd", {"svd_rank": 2}), ("svd", {}), ("ties_svd", {"density": 0.5}), ("magnitude_prune_svd", {"density": 0.4})]
CLAMPED = [("svd", {"svd_rank": 3, "svd_clamp": 0.9}), ("ties_svd", {"density": 0.5, "svd_clamp": 0.8})]
FACTORS = [
    ("linear", {}),
    ("ties", {"density": 0.5}),
    ("ties", {"density": 0.7, "majority_sign_method": "frequency"}),
    ("magnitude_prune", {"density": 0.4}),
]
CAT = [("cat", {})]
ALL = CAT + SVD + FACTORS
QK = {"r": 3, "lora_alpha": 6, "target_modules": ["q", "k"]}
CASES = [
    ("plain", [QK, QK, QK], [0.5, -0.7, 0.4], ALL + CLAMPED),
    ("one adapter", [QK], [0.5], [("cat", {}), ("svd", {})]),
    ("rsLoRA first", [{**QK, "use_rslora": True}, QK], [0.5, 0.7], ALL),
    ("rsLoRA second", [QK, {**QK, "use_rslora": True}], [0.5, 0.7], ALL),
    ("DoRA first", [{**QK, "use_dora": True}, QK], [0.5, 0.7], CAT + SVD + FACTORS[:2]),
    ("DoRA second", [QK, {**QK, "use_dora": True}], [0.5, 0.7], CAT + SVD[:1]),
    ("lora_bias first", [{**QK, "lora_bias": True}, QK], [0.5, 0.7], CAT + SVD[:1] + FACTORS[:1]),
    ("lora_bias second", [QK, {**QK, "lora_bias": True}], [0.5, 0.7], CAT + SVD[:1]),
    ("unequal ranks", [{**QK, "r": 2}, QK], [0.5, 0.7], CAT + SVD),
    ("different modules", [{**QK, "target_modules": ["q"]}, QK], [0.5, 0.7], ALL),
    ("embedding", [{**QK, "target_modules": ["embed"]}] * 2, [0.5, -0.7], ALL + CLAMPED[:1]),
    ("modules_to_save", [{**QK, "modules_to_save": ["head"]}, QK], [0.5, 0.7], CAT + FACTORS[:1]),
]


def main():
    os.makedirs(OUT, exist_ok=True)
    tensors = {f"base/{name}": value for name, value in net().state_dict().items()}
    cases = []
    with tempfile.TemporaryDirectory() as place:
        for number, (title, configs, weights, runs) in enumerate(CASES):
            folders = [os.path.join(place, f"{number}-{index}") for index in range(len(configs))]
            case = {"title": title, "weights": weights, "adapters": [], "runs": []}

            def keep(folder, key):
                for name, value in load_file(os.path.join(folder, "adapter_model.safetensors")).items():
                    tensors[f"{key}/{name}"] = value.contiguous().clone()
                with open(os.path.join(folder, "adapter_config.json")) as file:
                    config = json.load(file)
                kept = ("r", "lora_alpha", "use_rslora", "use_dora", "lora_bias", "target_modules", "rank_pattern")
                kept += ("alpha_pattern", "modules_to_save", "peft_type")
                return {name: sorted(config[name]) if name == "target_modules" else config[name] for name in kept}

            for index, (folder, config) in enumerate(zip(folders, configs, strict=True)):
                adapter(folder, 100 * number + index, **config)
                case["adapters"].append(keep(folder, f"{number}/{index}"))
            for at, (kind, options) in enumerate(runs):
                model = PeftModel.from_pretrained(net(), folders[0], adapter_name="a0")
                for index, folder in enumerate(folders[1:], 1):
                    model.load_adapter(folder, adapter_name=f"a{index}")
                names = [f"a{index}" for index in range(len(folders))]
                model.add_weighted_adapter(names, weights, "merged", combination_type=kind, **options)
                out = os.path.join(place, f"{number}-{at}-merged")
                model.save_pretrained(out, selected_adapters=["merged"])
                config = keep(os.path.join(out, "merged"), f"{number}/merged {at}")
                case["runs"].append({"kind": kind, "options": options, "config": config})
            cases.append(case)
    save_file(tensors, os.path.join(OUT, "dialect.safetensors"))
    with open(os.path.join(OUT, "dialect.json"), "w") as file:
        json.dump(cases, file, separators=(",", ":"))


main()
