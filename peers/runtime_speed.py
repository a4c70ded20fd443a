"""PyTorch's side of npm run bench:runtime. Arguments: the zoo, threads, rounds, a part of the names of those that are
measured. Prints JSON, milliseconds."""
import json
import statistics
import sys
import time

import torch
import transformers as tf

zoo, threads, rounds, only = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(threads)


def milliseconds(work):
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def measure(model, forward, loss):
    def both():
        model.zero_grad(set_to_none=True)
        loss().backward()

    with torch.no_grad():
        only = milliseconds(forward)
    return {"forward": only, "both": milliseconds(both)}


found = {}
vit = tf.ViTForImageClassification.from_pretrained(f"{zoo}/vision/hebrew", dtype=torch.float32).eval()
for count in (32, 100):
    if only not in f"ViT, {count} images":
        continue
    pixels = torch.sin(torch.arange(count * 784, dtype=torch.float32)).reshape(count, 1, 28, 28)
    labels = torch.arange(count) % 27
    found[f"ViT, {count} images"] = measure(
        vit, lambda: vit(pixels).logits, lambda: torch.nn.functional.cross_entropy(vit(pixels).logits, labels))
llama = tf.LlamaForCausalLM.from_pretrained(f"{zoo}/language/base", dtype=torch.float32).eval()
for count in (1, 4):
    if only not in f"Llama, {count} x 512 tokens":
        continue
    ids = ((torch.arange(count * 512) * 977) % 4096).reshape(count, 512)
    found[f"Llama, {count} x 512 tokens"] = measure(
        llama, lambda: llama(ids).logits,
        lambda: torch.nn.functional.cross_entropy(llama(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()))
print(json.dumps(found))
