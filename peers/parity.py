"""Runs the same recipe files with Mergewright and with mergekit 0.1.5 on the bundled language models and compares
every entry of every tensor.

    peers/.venv/bin/python peers/parity.py              # all recipes, writes out/parity.md and out/parity.json
    peers/.venv/bin/python peers/parity.py slerp ties   # those whose name contains a word

Run from the repository root after `npm run build`. A difference is given in units of the output format's spacing at the
tensor's largest magnitude: 1 is one rounding. Recipes that may differ by more name the reason; the script fails where a
difference has none, where tensors, shapes or formats differ, and where fewer recipes ran than it lists.
"""
import copy
import json
import math
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

warnings.filterwarnings("ignore")
ROOT = Path(__file__).resolve().parent.parent
BASE = "zoo/language/base"
FRENCH = "zoo/language/french"
GERMAN = "zoo/language/german"

TIES_ORDER = "equal magnitudes at the threshold: mergekit keeps those that an unstable sort leaves first, we the lowest indices"
FEW_EQUAL = "a pair of magnitudes at the threshold is equal after all"
KL_NOISE = "float32 row divergences of mergekit are rounding noise around the threshold; ours are computed in float64"
REDUCTIONS = "mergekit sums norms and inner products in float32; ours are float64 (the exact answer lies within one unit of ours)"
BF16_STEPS = "mergekit rounds every step to bfloat16; ours rounds once"
PROMOTED = "mergekit writes float32 although the recipe asks for bfloat16"


def entry(model, **parameters):
    return {"model": model, **({"parameters": parameters} if parameters else {})}


def recipe(method, models, base=None, dtype="float32", **rest):
    out = {"merge_method": method, "models": models, "dtype": dtype, **rest}
    if base is not None:
        out["base_model"] = base
    return out


def both(**parameters):
    return [entry(FRENCH, **parameters), entry(GERMAN, **parameters)]


GRADIENT = [0.1, 0.5, 1.0]
FILTERED = [{"filter": "mlp", "value": 0.8}, {"filter": "self_attn", "value": [0.2, 0.6]}, {"value": 0.5}]


def layers(model, start, end, **parameters):
    return {"model": model, "layer_range": [start, end], **({"parameters": parameters} if parameters else {})}


def cases():
    """Name -> (recipe, why more than one rounding is allowed or None)."""
    out = {}

    def add(name, body, why=None):
        out[name] = (body, why)

    # Every method, plainly, with a gradient, with filters, and rounded to bfloat16 at the end.
    weighted = ["linear", "task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties", "dare_ties", "dare_linear", "della", "della_linear", "nuslerp", "multislerp"]
    based = {"task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties", "dare_ties", "dare_linear", "della", "della_linear"}
    fixed = {
        "ties": {"density": 0.5},
        "breadcrumbs": {"density": 0.7, "gamma": 0.02},
        "breadcrumbs_ties": {"density": 0.7, "gamma": 0.02},
        # The random ones where nothing is random.
        "dare_ties": {"density": 1.0},
        "dare_linear": {"density": 1.0},
        "della": {"density": 1.0, "epsilon": 0.05},
        "della_linear": {"density": 1.0, "epsilon": 0.05},
    }
    ordered = {"ties", "breadcrumbs", "breadcrumbs_ties"}
    spherical = {"nuslerp", "multislerp"}
    for method in weighted:
        base = BASE if method in based else None
        extra = fixed.get(method, {})
        why = TIES_ORDER if method in ordered else REDUCTIONS if method in spherical else None
        for name, weight in [("", 0.6), (" gradient", GRADIENT), (" filters", FILTERED)]:
            add(f"{method}{name}", recipe(method, both(weight=weight, **extra), base), why)
        add(f"{method} rounded once", recipe(method, both(weight=0.6, **extra), base, out_dtype="bfloat16"), why)
    for method, parameters in [
        ("slerp", {"t": 0.35}),
        ("nearswap", {"t": 0.001}),
        ("arcee_fusion", {}),
    ]:
        why = {"arcee_fusion": KL_NOISE, "slerp": REDUCTIONS}.get(method)
        add(method, recipe(method, [entry(GERMAN)], FRENCH, parameters=parameters), why)
        add(f"{method} rounded once", recipe(method, [entry(GERMAN)], FRENCH, parameters=parameters, out_dtype="bfloat16"), why)
    add("slerp gradient and filters", recipe("slerp", [entry(GERMAN)], FRENCH, parameters={"t": [{"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]}, {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]}, {"value": 0.5}]}), REDUCTIONS)
    for method, parameters in [
        ("karcher", {}),
        ("karcher", {"max_iter": 3, "tol": 1e-4}),
        ("model_stock", {}),
        ("model_stock", {"filter_wise": True}),
        ("sce", {"select_topk": 1.0}),
        ("sce", {"select_topk": 0.4}),
        ("ram", {"epsilon": 1e-4}),
        ("ramplus_tl", {"epsilon": 1e-4, "r": 0.2, "alpha": 0.3}),
    ]:
        base = None if method == "karcher" else BASE
        label = " ".join([method, *(f"{key} {value}" for key, value in parameters.items())])
        why = TIES_ORDER if parameters.get("select_topk") == 0.4 else REDUCTIONS if method in ("karcher", "model_stock") else None
        add(label, recipe(method, [entry(FRENCH), entry(GERMAN)], base, parameters=parameters), why)
    add("nuslerp with a base", recipe("nuslerp", both(weight=0.5), BASE), REDUCTIONS)
    add("nuslerp rows", recipe("nuslerp", [entry(FRENCH, weight=0.3), entry(GERMAN, weight=0.9)], None, parameters={"nuslerp_flatten": False}), REDUCTIONS)
    add("nuslerp columns", recipe("nuslerp", [entry(FRENCH, weight=0.3), entry(GERMAN, weight=0.9)], None, parameters={"nuslerp_flatten": False, "nuslerp_row_wise": True}), REDUCTIONS)
    add("multislerp with a base", recipe("multislerp", both(weight=0.5), BASE), REDUCTIONS)
    add("linear, not normalised", recipe("linear", [entry(FRENCH, weight=0.7), entry(GERMAN, weight=0.6)], parameters={"normalize": False}))
    add("linear with an unlisted base", recipe("linear", both(), BASE, parameters={"weight": 0.4}))
    add("linear bfloat16", recipe("linear", both(weight=0.3), dtype="bfloat16"))
    add("linear kept as stored", {k: v for k, v in recipe("linear", both(weight=0.3)).items() if k != "dtype"})
    add("slerp bfloat16", recipe("slerp", [entry(GERMAN)], FRENCH, dtype="bfloat16", parameters={"t": 0.5}))
    add("task_arithmetic bfloat16", recipe("task_arithmetic", both(weight=0.7), BASE, dtype="bfloat16"), BF16_STEPS)
    add("ramplus_tl bfloat16", recipe("ramplus_tl", [entry(FRENCH), entry(GERMAN)], BASE, dtype="bfloat16", parameters={"epsilon": 1e-4}), PROMOTED)
    add("task_arithmetic, negative, lambda, normalised", recipe("task_arithmetic", [entry(FRENCH, weight=0.9), entry(GERMAN, weight=-0.3)], BASE, parameters={"lambda": 0.8, "normalize": True}))
    add("ties, density 1", recipe("ties", both(weight=0.5, density=1.0), BASE))
    add("ties, uneven, lambda", recipe("ties", [entry(FRENCH, weight=0.4, density=0.35), entry(GERMAN, weight=1.3, density=0.6)], BASE, parameters={"lambda": 0.7}), TIES_ORDER)
    add("ties, rescaled, not normalised", recipe("ties", both(weight=0.5, density=0.4), BASE, parameters={"rescale": True, "normalize": False}), TIES_ORDER)
    add("ties, density gradient", recipe("ties", both(weight=0.5, density=[0.2, 0.9]), BASE), TIES_ORDER)
    add("breadcrumbs, no outliers", recipe("breadcrumbs", both(weight=0.5, density=0.6, gamma=0.0), BASE), TIES_ORDER)
    add("passthrough", {"merge_method": "passthrough", "models": [entry(FRENCH, scale=0.5)], "dtype": "float32"})
    add("passthrough float16", {"merge_method": "passthrough", "models": [entry(FRENCH)], "dtype": "float16"})

    # The same in float32 with every magnitude different: nothing is left for an unstable sort to decide.
    for name, body in [
        ("ties", recipe("ties", [entry("FINE/french", weight=0.6, density=0.5), entry("FINE/german", weight=0.9, density=0.2)], BASE)),
        ("ties, rescaled", recipe("ties", [entry("FINE/french", weight=0.6, density=0.5), entry("FINE/german", weight=0.9, density=0.2)], BASE, parameters={"rescale": True})),
        ("breadcrumbs", recipe("breadcrumbs", [entry("FINE/french", weight=0.6, density=0.7, gamma=0.02), entry("FINE/german", weight=0.6, density=0.5, gamma=0.1)], BASE)),
        ("breadcrumbs_ties", recipe("breadcrumbs_ties", [entry("FINE/french", weight=0.6, density=0.7, gamma=0.02), entry("FINE/german", weight=0.6, density=0.5, gamma=0.1)], BASE)),
        ("sce select_topk 0.4", recipe("sce", [entry("FINE/french"), entry("FINE/german")], BASE, parameters={"select_topk": 0.4})),
    ]:
        add(f"all different: {name}", body, FEW_EQUAL)

    # Slices.
    add("slices, stacked", {"merge_method": "passthrough", "dtype": "float32", "slices": [
        {"sources": [layers(FRENCH, 0, 4)]}, {"sources": [layers(GERMAN, 2, 6)]}]})
    add("slices, scaled by filter", {"merge_method": "passthrough", "dtype": "float32", "slices": [
        {"sources": [layers(FRENCH, 0, 3)]},
        {"sources": [layers(GERMAN, 1, 5, scale=[{"filter": "o_proj", "value": 0.0}, {"filter": "down_proj", "value": 0.5}, {"value": 1.0}])]}]})
    add("slices, merged", {"merge_method": "linear", "dtype": "float32", "parameters": {"weight": 0.5}, "slices": [
        {"sources": [layers(FRENCH, 0, 3, weight=0.7), layers(GERMAN, 3, 6)]},
        {"sources": [layers(FRENCH, 3, 6), layers(GERMAN, 0, 3, weight=[0.1, 0.9])]}]})
    add("slices, task arithmetic", {"merge_method": "task_arithmetic", "base_model": BASE, "dtype": "float32", "slices": [
        {"sources": [layers(BASE, 0, 6), layers(FRENCH, 0, 6, weight=GRADIENT), layers(GERMAN, 0, 6, weight=0.3)]}]})
    add("slices, slerp per slice", {"merge_method": "slerp", "base_model": FRENCH, "dtype": "float32", "slices": [
        {"sources": [layers(FRENCH, 0, 2), layers(GERMAN, 0, 2)], "parameters": {"t": 0.2}},
        {"sources": [layers(FRENCH, 2, 6), layers(GERMAN, 2, 6)], "parameters": {"t": [0, 1]}}]}, REDUCTIONS)

    # Tokenizers; "extended" is the German model with two more tokens.
    for label, block in [
        ("union", {"source": "union"}),
        ("base", {"source": "base"}),
        ("a model's", {"source": "EXTENDED"}),
        ("union, padded", {"source": "union", "pad_to_multiple_of": 64}),
        ("union, zero for a token", {"source": "union", "tokens": {"<peer-a>": {"source": {"kind": "zero"}}}}),
        ("union, forced", {"source": "union", "tokens": {"<peer-a>": {"source": "EXTENDED", "force": True}}}),
    ]:
        add(f"tokenizer {label}", recipe("linear", [entry(FRENCH, weight=0.4), entry("EXTENDED", weight=0.6)], tokenizer=block, base_model_for_tokenizer=True))
    return out


def extend(target):
    """The German model with two added tokens and their rows."""
    shutil.copytree(ROOT / GERMAN, target)
    generator = torch.Generator().manual_seed(1)
    tokenizer = json.loads((target / "tokenizer.json").read_text())
    config = json.loads((target / "config.json").read_text())
    size = config["vocab_size"]
    for index, content in enumerate(["<peer-a>", "<peer-b>"]):
        tokenizer["added_tokens"].append({"id": size + index, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False})
    config["vocab_size"] = size + 2
    (target / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (target / "config.json").write_text(json.dumps(config))
    for file in target.glob("*.safetensors"):
        weights = load_file(file)
        for name in weights:
            if name.endswith("embed_tokens.weight"):
                rows = torch.randn(2, weights[name].shape[1], generator=generator).to(weights[name].dtype) * 0.02
                weights[name] = torch.cat([weights[name], rows])
        save_file(weights, file, metadata={"format": "pt"})


def spread(source, target, seed):
    """A model in float32 whose entries are moved a little, each by another amount."""
    shutil.copytree(ROOT / source, target)
    generator = torch.Generator().manual_seed(seed)
    for file in target.glob("*.safetensors"):
        weights = {name: tensor.float() for name, tensor in load_file(file).items()}
        for name, tensor in weights.items():
            weights[name] = tensor + 1e-4 * torch.randn(tensor.shape, generator=generator)
        save_file(weights, file, metadata={"format": "pt"})


def tensors(folder):
    found = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, framework="pt") as handle:
            for name in handle.keys():
                found[name] = handle.get_tensor(name)
    return found


BITS = {torch.float32: 23, torch.bfloat16: 7, torch.float16: 10}


def spacing(tensor):
    largest = tensor.to(torch.float64).abs().max().item() if tensor.numel() > 0 else 0.0
    return 2.0 ** (math.floor(math.log2(largest)) - BITS[tensor.dtype]) if largest > 0 else 1.0


def compare(theirs, ours):
    missing = sorted(set(theirs) ^ set(ours))
    shapes = [name for name in theirs.keys() & ours.keys() if theirs[name].shape != ours[name].shape]
    formats = sum(theirs[name].dtype != ours[name].dtype for name in theirs.keys() & ours.keys())
    worst, where, beyond, total = 0.0, "", 0, 0
    for name in sorted(theirs.keys() & ours.keys()):
        if name in shapes:
            continue
        a, b = theirs[name].to(torch.float64), ours[name].to(torch.float64)
        units = (a - b).abs() / max(spacing(ours[name]), spacing(theirs[name]))
        largest = units.max().item()
        if largest > worst:
            worst, where = largest, name
        beyond += (units > 1).sum().item()
        total += units.numel()
    return {"missing": missing, "shapes": shapes, "formats": formats, "units": worst, "where": where, "beyond": beyond, "entries": total}


def main(words):
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    rows, failures = [], []
    chosen = {name: case for name, case in cases().items() if not words or any(word in name for word in words)}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        extended = scratch / "extended"
        extend(extended)
        fine = scratch / "fine"
        spread(FRENCH, fine / "french", 2)
        spread(GERMAN, fine / "german", 3)
        for name, (body, why) in chosen.items():
            text = json.dumps(copy.deepcopy(body)).replace("EXTENDED", str(extended)).replace("FINE/", f"{fine}/")
            body = json.loads(text)
            if body.pop("base_model_for_tokenizer", False):
                body["base_model"] = FRENCH
            file = scratch / "recipe.yml"
            file.write_text(yaml.safe_dump(body, sort_keys=False))
            for folder in ("theirs", "ours"):
                shutil.rmtree(scratch / folder, ignore_errors=True)
            problem = None
            try:
                config = MergeConfiguration.model_validate(yaml.safe_load(file.read_text()))
                run_merge(config, str(scratch / "theirs"), MergeOptions(copy_tokenizer=False, quiet=True, random_seed=1))
            except Exception as error:
                problem = f"mergekit: {error}"
            done = subprocess.run(["node", "bin/mergewright.js", "merge", str(file), "-o", str(scratch / "ours")], cwd=ROOT, capture_output=True, text=True)
            if done.returncode != 0:
                problem = f"ours: {done.stderr.strip().splitlines()[0] if done.stderr else done.returncode}"
            if problem is not None:
                failures.append(name)
                print(f"{name:44} FAILED  {problem}", flush=True)
                rows.append({"recipe": name, "problem": problem})
                continue
            result = compare(tensors(scratch / "theirs"), tensors(scratch / "ours"))
            explained = why is not None
            # In float32 both tools round differently on the way; the documented bound is a handful of units.
            bound = 1 if body.get("out_dtype", body.get("dtype")) in ("bfloat16", "float16") else 4
            if why == FEW_EQUAL and result["beyond"] > 4:
                explained = False
            wrong = bool(result["missing"] or result["shapes"]) or ((result["units"] > bound or result["formats"] > 0) and not explained)
            if wrong:
                failures.append(name)
            rows.append({"recipe": name, **result, "why": why})
            print(f"{name:44} {'FAILED ' if wrong else ''}{result['units']:10.3g} units, {result['beyond']} of {result['entries']} beyond one{', other format' if result['formats'] else ''}{', missing ' + ', '.join(result['missing'][:3]) if result['missing'] else ''}{', shapes ' + ', '.join(result['shapes'][:3]) if result['shapes'] else ''}", flush=True)
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    (out / "parity.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = ["| recipe | largest difference | entries beyond one unit | reason |", "|---|---|---|---|"]
    for row in rows:
        if "problem" in row:
            lines.append(f"| {row['recipe']} | failed | | {row['problem']} |")
        else:
            lines.append(f"| {row['recipe']} | {row['units']:.3g} | {row['beyond']} of {row['entries']} | {(row['why'] or '') if row['beyond'] or row['formats'] else ''} |")
    (out / "parity.md").write_text("\n".join(lines) + "\n")
    print(f"{len(rows) - len(failures)} agree, {len(failures)} do not" + (": " + ", ".join(failures) if failures else ""))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
