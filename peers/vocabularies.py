"""Unites vocabularies with Mergewright and with mergekit and compares rows token by token; then loads what Mergewright
wrote with transformers and compares how texts are split.

Run from the repository root after `npm run build`. The inputs are made from the zoo's language models with transformers
itself: one gets chat tokens, one a tokenizer trained on other text, so that words are new and merges differ.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
MERGEKIT = ROOT / "peers/.venv/bin/mergekit-yaml"
ZOO = ROOT / "zoo/language"
TEXTS = [
    "The quick brown fox jumps over the lazy dog. 1234 + 5678 = 6912",
    "Élan vital, naïve façade: straße & 東京 🙂 the end.",
    "def main():\n    return [x ** 2 for x in range(10)]\n",
    "Der Vogelflug über die Donaudampfschifffahrtsgesellschaft, 'heute' und morgen.",
    "Il n'y a pas de quoi, monsieur; les oiseaux chantent à l'aube.",
]


def with_chat(folder):
    tokenizer = AutoTokenizer.from_pretrained(ZOO / "french")
    model = AutoModelForCausalLM.from_pretrained(ZOO / "french", dtype=torch.float32)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    resize(model, len(tokenizer), folder, tokenizer)


def with_other_words(folder):
    base = AutoTokenizer.from_pretrained(ZOO / "german")
    corpus = (TEXTS[3:] + ["Wanderwege Vogelflug Donau Dampfschiff Fahrt Gesellschaft Morgenrot " * 20]) * 5
    tokenizer = base.train_new_from_iterator(corpus, 600)
    tokenizer.add_tokens(["<|im_end|>"], special_tokens=True)
    model = AutoModelForCausalLM.from_pretrained(ZOO / "german", dtype=torch.float32)
    resize(model, len(tokenizer) + 5, folder, tokenizer)


def resize(model, rows, folder, tokenizer):
    torch.manual_seed(rows)
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def plain(folder):
    AutoModelForCausalLM.from_pretrained(ZOO / "base", dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(ZOO / "base").save_pretrained(folder)


def cases(inputs):
    base, chat, words = (str(inputs / name) for name in ("base", "chat", "words"))
    models = [chat, words]
    yield "union", {"source": "union"}, base, models
    yield "base", {"source": "base"}, base, models
    yield "model", {"source": chat}, base, models
    tokens = {
        "<|im_end|>": {"source": {"kind": "model_token", "model": base, "token": "</s>"}, "force": True},
        "<|im_start|>": {"source": {"kind": "zero"}},
        "Ġthe": {"source": chat, "force": True},
    }
    yield "union with exceptions", {"source": "union", "tokens": tokens}, base, models
    yield "union, padded to 64", {"source": "union", "pad_to_multiple_of": 64}, base, models


def embedding(folder):
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, framework="pt") as handle:
            if "model.embed_tokens.weight" in handle.keys():
                return handle.get_tensor("model.embed_tokens.weight").to(torch.float64)
    raise RuntimeError(f"no embedding in {folder}")


def run(scratch, tokenizer, base, models):
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "models": [{"model": model, "parameters": {"weight": 0.5}} for model in models],
        "dtype": "float32",
        "tokenizer": tokenizer,
        "chat_template": "auto",
    }
    (scratch / "recipe.yaml").write_text(json.dumps(recipe))
    quiet = dict(cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    subprocess.run([MERGEKIT, scratch / "recipe.yaml", scratch / "theirs", "--quiet"], **quiet)
    subprocess.run(["node", "bin/mergewright.js", "merge", scratch / "recipe.yaml", "-o", scratch / "ours"], **quiet)
    return scratch / "theirs", scratch / "ours"


def compare_rows(theirs, ours):
    a, b = embedding(theirs), embedding(ours)
    ids_a, ids_b = (AutoTokenizer.from_pretrained(folder).get_vocab() for folder in (theirs, ours))
    shared = sorted(set(ids_a) & set(ids_b))
    difference = max((a[ids_a[token]] - b[ids_b[token]]).abs().max().item() for token in shared)
    padding = 0.0
    if a.shape == b.shape and a.shape[0] > max(len(ids_a), len(ids_b)):
        padding = (a[len(ids_a) :] - b[len(ids_b) :]).abs().max().item()
    return len(shared), sorted(set(ids_a) ^ set(ids_b))[:5], difference, padding, tuple(a.shape), tuple(b.shape)


def taken_apart(tokens, base_tokenizer, known):
    """Each new token as the base's model splits its text; merges alone, without cutting into words."""
    apart = []
    for token in tokens:
        if token in known:
            apart.append(token)
        else:
            apart += [piece.value for piece in base_tokenizer.backend_tokenizer.model.tokenize(token)]
    return apart


def compare_texts(folder, base):
    base_tokenizer, merged = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(folder)
    known = set(base_tokenizer.get_vocab())
    kept = lawful = 0
    for text in TEXTS:
        before, after = base_tokenizer.tokenize(text), merged.tokenize(text)
        kept += before == after
        lawful += taken_apart(after, base_tokenizer, known) == before
    return kept, lawful


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        inputs = scratch / "inputs"
        plain(inputs / "base"), with_chat(inputs / "chat"), with_other_words(inputs / "words")
        for name, tokenizer, base, models in cases(inputs):
            place = scratch / name.replace(" ", "-")
            place.mkdir()
            theirs, ours = run(place, tokenizer, base, models)
            count, odd, difference, padding, shape_a, shape_b = compare_rows(theirs, ours)
            print(f"{name}: {count} tokens in both, in only one: {odd or 'none'}; largest difference of rows {difference:.3g}, of padding {padding:.3g}; embedding {shape_a} {shape_b}")
            for who, folder in (("mergekit", theirs), ("mergewright", ours)):
                if name == "model":
                    break
                kept, lawful = compare_texts(folder, base)
                print(f"  {who}: {kept} of {len(TEXTS)} texts split as by the base, {lawful} but for joined neighbours")
            model = AutoModelForCausalLM.from_pretrained(ours)
            loaded = AutoTokenizer.from_pretrained(ours)
            encoded = loaded(TEXTS[0], return_tensors="pt")
            assert "<|im_start|>user\nHello" in loaded.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
            assert torch.isfinite(model(**encoded).logits).all()
            assert model.get_input_embeddings().weight.shape[0] == model.config.vocab_size


if __name__ == "__main__":
    sys.exit(main())
