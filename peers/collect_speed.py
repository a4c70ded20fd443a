"""PyTorch's side of npm run bench:collect. Arguments: the zoo, threads, examples, the solves as JSON. Prints JSON.

The exact Fisher is made by vmap over gradients of single examples and classes, K-FAC by hooks on the linear layers over
batches of 32. Importances are of the base's gradient times the change, and of losses with one layer of the change put in. Solves are torch.linalg's, in the dtypes of the methods. `sum` is the sum of one layer's result, so that both
sides can be seen to have made the same.
"""
import json
import sys
import time

import torch
import transformers as tf
from safetensors.torch import load_file

zoo, threads, examples, solves = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
torch.set_num_threads(threads)
model = tf.ViTForImageClassification.from_pretrained(
    f"{zoo}/vision/mnist", dtype=torch.float32, attn_implementation="eager").eval()
data = load_file(f"{zoo}/vision/mnist/data.safetensors")
pixels = (data["train.images"][:examples].float().unsqueeze(1) / 255 - 0.5) / 0.5
labels = data["train.labels"][:examples].long()
state = {name: value.detach() for name, value in model.named_parameters()}
# Versions of transformers name the module differently from the file.
stored = load_file(f"{zoo}/vision/mnist/model.safetensors")["vit.encoder.layer.1.output.dense.weight"].float()
LAYER = next(name for name, value in state.items() if torch.equal(value, stored)).removesuffix(".weight")


def fisher():
    sums = {name: torch.zeros_like(value) for name, value in state.items()}

    def log_p(weights, image, one_hot):
        logits = torch.func.functional_call(model, weights, (image.unsqueeze(0),)).logits
        return (torch.log_softmax(logits, -1)[0] * one_hot).sum()

    one = torch.func.vmap(torch.func.grad(log_p), in_dims=(None, 0, 0))
    with torch.no_grad():
        for image in pixels:
            p = model(image.unsqueeze(0)).logits.softmax(-1)[0]
            gradients = one(state, image.expand(len(p), *image.shape), torch.eye(len(p)))
            for name, gradient in gradients.items():
                sums[name] += torch.tensordot(p, gradient.square(), 1)
    return sums[f"{LAYER}.weight"].sum().item()


def kfac():
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    sums = {}

    def add(name, rows):
        rows = rows.detach().reshape(-1, rows.shape[-1])
        sums[name] = sums.get(name, 0) + (rows.T @ rows).double()

    handles = []
    for name, layer in layers.items():
        handles.append(layer.register_forward_hook(lambda _, x, y, name=name: add(f"{name}.in", x[0])))
        handles.append(layer.register_full_backward_hook(lambda _, x, g, name=name: add(f"{name}.out", g[0])))
    for images, targets in zip(pixels.split(32), labels.split(32)):
        torch.nn.functional.cross_entropy(model(images).logits, targets, reduction="sum").backward()
    for handle in handles:
        handle.remove()
    return sums[f"{LAYER}.out"].trace().item()


base = tf.ViTForImageClassification.from_pretrained(
    f"{zoo}/vision/base", dtype=torch.float32, attn_implementation="eager", num_labels=model.config.num_labels,
    ignore_mismatched_sizes=True).eval()
# The task's own head is put over the base, so it is no change.
base.classifier = model.classifier
started_from = {name: value.detach().clone() for name, value in base.named_parameters()}
backbone = [name for name in started_from if not name.startswith("classifier.")]


def loss():
    sums = [torch.nn.functional.cross_entropy(base(images).logits, targets, reduction="sum")
            for images, targets in zip(pixels.split(32), labels.split(32))]
    return torch.stack(sums).double()


def importance_gradient():
    base.zero_grad()
    for images, targets in zip(pixels.split(32), labels.split(32)):
        torch.nn.functional.cross_entropy(base(images).logits, targets, reduction="sum").backward()
    own = dict(base.named_parameters())
    rows = {name: (own[name].grad * (state[name] - started_from[name])).flatten(1 if own[name].dim() > 1 else 0)
            for name in backbone}
    return rows[f"{LAYER}.weight"].double().sum().item()


def importance_restore():
    def partition(name):
        parts = name.split(".")
        number = next((at for at, part in enumerate(parts) if part.isdigit()), None)
        return ".".join(parts[:2] if number is None else parts[:number + 1])

    own = dict(base.named_parameters())
    found = {}
    with torch.no_grad():
        plain = loss().sum()
        for key in dict.fromkeys(partition(name) for name in backbone):
            inside = [name for name in backbone if partition(name) == key]
            for name in inside:
                own[name].copy_(state[name])
            found[key] = (loss().sum() - plain).item()
            for name in inside:
                own[name].copy_(started_from[name])
    return found[partition(f"{LAYER}.weight")]


def seconds(work):
    started = time.perf_counter()
    found = work()
    return {"seconds": time.perf_counter() - started, "sum": found}


def positive(size, dtype):
    a = torch.randn(size, size, dtype=dtype, generator=torch.Generator().manual_seed(size))
    return a @ a.T / size + torch.eye(size, dtype=dtype)


def regmean(inputs, outputs, models):
    gram = positive(inputs, torch.float64)
    weight = torch.randn(inputs, outputs, dtype=torch.float64)

    def solve():
        total = sum(gram for _ in range(models))
        right = sum(gram @ weight for _ in range(models))
        return torch.cholesky_solve(right, torch.linalg.cholesky(total)).sum().item()
    return solve


def mats(inputs, outputs, models, steps):
    a, b = positive(inputs, torch.float32), positive(outputs, torch.float32)
    weight = torch.randn(inputs, outputs)

    def operator(v):
        return sum(a @ v @ b for _ in range(models))

    def solve():
        right, x = operator(weight), torch.zeros_like(weight)
        r = right - operator(x)
        p, square = r, r.square().sum()
        for _ in range(steps):
            moved = operator(p)
            alpha = square / (p * moved).sum()
            x = x + alpha * p
            r = r - alpha * moved
            beta = r.square().sum() / square
            square = beta * square
            p = r + beta * p
        return x.sum().item()
    return solve


model(pixels[:1])
found = {"fisher": seconds(fisher), "kfac": seconds(kfac), "importance gradient": seconds(importance_gradient),
         "importance restore": seconds(importance_restore)}
for name, of in solves.items():
    work = regmean(*of[1:]) if of[0] == "regmean" else mats(*of[1:])
    work()
    found[name] = seconds(work)
print(json.dumps(found))
