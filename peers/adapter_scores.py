"""Bits per byte of the zoo's adapters by PEFT and transformers, for test/adapters/scores.json.

    peers/.venv/bin/python peers/adapter_scores.py          writes test/adapters/scores.json

zoo/reference.json has no rows for adapters, so this measures them as it describes the language rows: every document becomes [0]
and its token ids, all are concatenated and cut into windows of 256, the first 255 tokens of which predict the last 255; nats /
ln 2 / UTF-8 bytes of the decoded windows. The bytes are those for which the base has the row of reference.json, and must be within
1e-3 of what is decoded here: characters that a window cuts are counted differently. The adapters stay unmerged: what is scored is
their own forward pass.
"""
import json
import math
import os
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
ZOO = os.path.join(ROOT, "zoo", "language")
language = json.load(open(os.path.join(ROOT, "zoo", "reference.json")))["language"]
reference = language["rows"]["base"]["bits_per_byte"]
tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(ZOO, "base", "tokenizer.json"))


def windows(domain):
    documents = json.load(open(os.path.join(ZOO, domain, "text.json")))["test"]
    ids = [token for text in documents for token in [0] + tokenizer.encode(text, add_special_tokens=False)]
    return torch.tensor(ids[: len(ids) // 256 * 256]).view(-1, 256)


def score(model, domain):
    rows = windows(domain)
    texts = tokenizer.batch_decode(rows.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    size = sum(len(text.encode()) for text in texts)
    nats = 0.0
    with torch.no_grad():
        for some in rows.split(16):
            logits = model(some[:, :-1]).logits.flatten(0, 1)
            nats += torch.nn.functional.cross_entropy(logits, some[:, 1:].flatten(), reduction="sum").item()
    return nats / math.log(2) / size


def base():
    return AutoModelForCausalLM.from_pretrained(os.path.join(ZOO, "base"), dtype=torch.float32).eval()


scores = {}
for domain in ("french", "c"):
    own = score(base(), domain)
    assert abs(own - reference[domain]) < 1e-3, (domain, own, reference[domain])
    for kind in ("lora", "ia3"):
        model = PeftModel.from_pretrained(base(), os.path.join(ZOO, kind, domain)).eval()
        scores[f"{kind}/{domain}"] = round(score(model, domain) / own * reference[domain], 6)
        print(kind, domain, scores[f"{kind}/{domain}"], "base", round(own, 6), file=sys.stderr)
json.dump(scores, open(os.path.join(ROOT, "test", "adapters", "scores.json"), "w"), indent=1)
