"""Layer-wise AdaMerging of the vision zoo in PyTorch, for the time of a step. Arguments: the zoo, threads, steps.

Prints JSON: CPU and wall seconds per step, each step's loss.
"""
import json
import os
import sys
import time

import torch
import transformers as tf
from safetensors.torch import load_file

zoo, threads, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
tasks = ["mnist", "fashion", "latin", "greek", "cyrillic", "hebrew", "georgian", "hiragana"]


def network(name):
    return tf.ViTForImageClassification.from_pretrained(f"{zoo}/vision/{name}", dtype=torch.float32).eval()


models = [network(task) for task in tasks]
base = {name: value.detach() for name, value in network("base").named_parameters()}
states = [{name: value.detach() for name, value in model.named_parameters()} for model in models]
names = sorted(name for name in base if not name.startswith("classifier."))
changes = {name: torch.stack([state[name] - base[name] for state in states]) for name in names}
images = [load_file(f"{zoo}/vision/{task}/data.safetensors")["test.images"] for task in tasks]
raw = torch.full((len(names), len(tasks)), 0.3, requires_grad=True)
adam = torch.optim.Adam([raw], lr=1e-3)
losses = []


def step(number):
    coefficients = raw.clamp(0, 1)
    merged = {name: base[name] + torch.tensordot(coefficients[index], changes[name], 1)
              for index, name in enumerate(names)}
    loss = 0.0
    for model, state, data in zip(models, states, images):
        chosen = [(16 * number + j) % len(data) for j in range(16)]
        pixels = (data[chosen].float().unsqueeze(1) / 255 - 0.5) / 0.5
        weights = merged | {key: state[key] for key in ("classifier.weight", "classifier.bias")}
        logits = torch.func.functional_call(model, weights, (pixels,)).logits
        logs = torch.log_softmax(logits, -1)
        loss = loss - (logs.exp() * logs).sum(-1).mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
    losses.append(loss.item())


step(0)
wall, cpu = time.perf_counter(), os.times()
for number in range(1, steps + 1):
    step(number)
after = os.times()
print(json.dumps({
    "cpu": (after.user + after.system - cpu.user - cpu.system) / steps,
    "wall": (time.perf_counter() - wall) / steps,
    "losses": losses,
}))
