"""Small random models of every architecture that the runtime knows, and what transformers and PyTorch make of them.

    peers/.venv/bin/python peers/runtime_fixtures.py test/runtime/fixtures

Writes per model its config, its inputs, logits, a loss and the norm of each parameter's gradient (JSON), and its weights
(safetensors, F32). Needs transformers and torch; the tests need neither.
"""
import json
import pathlib
import sys
import tempfile

import torch
import transformers as tf
from safetensors.torch import load_file, save_file

OUT = pathlib.Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)


def ids(count, length, vocabulary, start=3):
    generator = torch.Generator().manual_seed(count * 100 + length)
    return torch.randint(start, vocabulary, (count, length), generator=generator)


def saved(model):
    """The tensors as transformers writes them, whose names need not be the modules'."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(pathlib.Path(folder) / "model.safetensors")


def write(name, model, inputs, run):
    """run(model) gives the logits as [rows, classes]; the loss is the mean cross-entropy for the targets row mod classes."""
    torch.manual_seed(0)
    model = model.eval().float()
    for parameter_name, parameter in model.named_parameters():
        # Random everywhere, norms and biases included, so that no mistake can hide behind ones and zeros.
        spread = 0.3 if parameter.dim() < 2 else 0.25 / parameter.shape[-1] ** 0.25
        parameter.data.normal_(0, spread)
        if "norm" in parameter_name.lower() or ".ln_" in parameter_name:
            if parameter_name.endswith("weight"):
                parameter.data.add_(1)
    logits = run(model)
    targets = torch.arange(logits.shape[0]) % logits.shape[1]
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    tensors = saved(model)
    config = json.loads(model.config.to_json_string(use_diff=False))
    config["architectures"] = [type(model).__name__]
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    norms = {key: gradient.norm().item() for key, gradient in saved(model).items()}
    save_file(tensors, OUT / f"{name}.safetensors")
    result = {"config": config, "inputs": inputs, "logits": logits.tolist(), "loss": loss.item(), "gradientNorms": norms}
    (OUT / f"{name}.json").write_text(json.dumps(result) + "\n")
    print(name, list(logits.shape), sum(tensor.numel() for tensor in tensors.values()), "parameters")


def causal(name, config):
    tokens = ids(2, 9, config.vocab_size)
    inputs = {"kind": "text", "count": 2, "length": 9, "ids": tokens.flatten().tolist(), "lengths": [9, 9]}
    model = tf.AutoModelForCausalLM.from_config(config)
    write(name, model, inputs, lambda m: m(input_ids=tokens).logits.flatten(0, 1))


LLAMA = dict(vocab_size=53, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, attn_implementation="eager")
causal("llama", tf.LlamaConfig(**LLAMA, rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0,
       "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}, attention_bias=True, mlp_bias=True))
causal("mistral", tf.MistralConfig(**LLAMA, sliding_window=4, head_dim=6))
causal("qwen2", tf.Qwen2Config(**LLAMA, tie_word_embeddings=True))
causal("qwen3", tf.Qwen3Config(**LLAMA, head_dim=8))
causal("gpt2", tf.GPT2Config(vocab_size=53, n_positions=20, n_embd=16, n_layer=2, n_head=2, attn_implementation="eager"))


def classifier(name, model, vocabulary, segments):
    lengths = [9, 5, 7]
    tokens = ids(3, 9, vocabulary)
    mask = torch.tensor([[1] * n + [0] * (9 - n) for n in lengths])
    kinds = (torch.arange(27).reshape(3, 9) % 2) * mask
    extra = {"token_type_ids": kinds} if segments else {}
    inputs = {"kind": "text", "count": 3, "length": 9, "ids": tokens.flatten().tolist(), "lengths": lengths}
    if segments:
        inputs["segments"] = kinds.flatten().tolist()
    padding = model.config.pad_token_id or 0
    write(name, model, inputs, lambda m: m(input_ids=tokens * mask + padding * (1 - mask), attention_mask=mask, **extra).logits)


BERT = dict(vocab_size=53, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=20, num_labels=3, attn_implementation="eager")
classifier("bert", tf.BertForSequenceClassification(tf.BertConfig(**BERT)), 53, True)
classifier("roberta", tf.RobertaForSequenceClassification(tf.RobertaConfig(**BERT, type_vocab_size=1)), 53, False)


def images(name, model, size, channels, run):
    pixels = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1)).mul(64).round().div(64)
    inputs = {"kind": "images", "count": 2, "channels": channels, "height": size, "width": size,
              "pixels": pixels.flatten().tolist()}
    write(name, model, inputs, lambda m: run(m, pixels))


VIT = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=12, patch_size=4,
           num_channels=3, attn_implementation="eager")
images("vit", tf.ViTForImageClassification(tf.ViTConfig(**VIT, num_labels=5, qkv_bias=False)), 12, 3, lambda m, x: m(x).logits)
images("clip", tf.CLIPVisionModelWithProjection(tf.CLIPVisionConfig(**VIT, projection_dim=10)), 12, 3,
       lambda m, x: m(x).image_embeds)


def t5(name, **options):
    config = tf.T5Config(vocab_size=53, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_decoder_layers=1, num_heads=2,
                         relative_attention_num_buckets=8, relative_attention_max_distance=16, dropout_rate=0.0, **options)
    tokens, said = ids(2, 12, 53), ids(2, 10, 53)
    lengths = [12, 7]
    mask = torch.tensor([[1] * n + [0] * (12 - n) for n in lengths])
    inputs = {"kind": "text", "count": 2, "length": 12, "ids": tokens.flatten().tolist(), "lengths": lengths,
              "decoder": {"length": 10, "ids": said.flatten().tolist()}}
    write(name, tf.T5ForConditionalGeneration(config), inputs,
          lambda m: m(input_ids=tokens, attention_mask=mask, decoder_input_ids=said).logits.flatten(0, 1))


t5("t5")
t5("t5-gated", feed_forward_proj="gated-gelu", tie_word_embeddings=False)
