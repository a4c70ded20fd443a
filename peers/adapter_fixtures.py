"""Small bases and PEFT adapters of every kind, with the weights that they make together, for test/adapters/fixtures.

    peers/.venv/bin/python peers/adapter_fixtures.py        writes test/adapters/fixtures

Bases and adapters are random and F32. The goldens are computed by PEFT 0.21.2 in float64 (merge_and_unload), and the script
checks for each that the forward pass with the adapter unmerged gives the same outputs; where PEFT's merge and its own
forward pass disagree (an adapter of a tied embedding), the golden is the one that the forward pass obeys.
"""
import json
import os
import shutil
import warnings

import torch
from peft import IA3Config, LoraConfig, PeftModel, TrainableTokensConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

warnings.filterwarnings("ignore")
ROOT = os.path.join(os.path.dirname(__file__), "..", "test", "adapters", "fixtures")


def llama(tied=False):
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=tied, attention_bias=True, max_position_embeddings=16))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=16))


def mixtral():
    model = MixtralForCausalLM(MixtralConfig(
        vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=3, num_experts_per_tok=2, tie_word_embeddings=False))
    # The grouped products of PyTorch know no float64.
    model.config._experts_implementation = "eager"
    return model


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(3, 4, 3)
        self.two = nn.Conv2d(4, 5, (2, 3))
        self.flat = nn.Conv2d(5, 4, 1)
        self.three = nn.Conv3d(1, 2, 2)

    def forward(self, x):
        y = self.flat(self.two(self.one(x[:, :, :20]).unsqueeze(-1).expand(-1, -1, -1, 4)))
        return self.three(y[:, :1].unsqueeze(-1).expand(-1, -1, -1, -1, 3))


CASES = {
    "lora_patterns": (llama, LoraConfig(
        r=2, lora_alpha=3, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"],
        rank_pattern={"mlp.up_proj": 3}, alpha_pattern={"v_proj": 5.5})),
    "rslora": (llama, LoraConfig(r=3, lora_alpha=4, use_rslora=True, target_modules="all-linear")),
    "lora_bias": (llama, LoraConfig(r=2, lora_alpha=3, lora_bias=True, target_modules=["q_proj", "v_proj"])),
    "bias_all": (llama, LoraConfig(r=2, lora_alpha=3, bias="all", target_modules=["q_proj"])),
    "dora": (llama, LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=["q_proj", "k_proj", "down_proj"])),
    "embedding": (llama, LoraConfig(r=2, lora_alpha=3, target_modules=["embed_tokens", "q_proj"])),
    "embedding_dora": (llama, LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=["embed_tokens"])),
    "embedding_tied": (lambda: llama(True), LoraConfig(r=2, lora_alpha=3, target_modules=["embed_tokens"])),
    "modules_to_save": (llama, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])),
    "tokens": (llama, LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [7, 2, 9]})),
    "tokens_tied": (lambda: llama(True), TrainableTokensConfig(token_indices=[1, 4])),
    "conv": (Convolutions, LoraConfig(r=2, lora_alpha=3, target_modules=["one", "two", "flat", "three"])),
    "conv_dora": (Convolutions, LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=["one", "two", "flat"])),
    "gpt2": (gpt2, LoraConfig(r=2, lora_alpha=3, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"])),
    "gpt2_dora": (gpt2, LoraConfig(r=2, lora_alpha=3, use_dora=True, fan_in_fan_out=True, target_modules=["c_fc", "c_proj"])),
    "experts": (mixtral, LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj"],
                                    target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
    "ia3": (llama, IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "ia3_gpt2": (gpt2, IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"],
                                 fan_in_fan_out=True)),
    "ia3_conv": (Convolutions, IA3Config(target_modules=["two", "flat"], feedforward_modules=["flat"])),
}


def inputs(model):
    if isinstance(model, Convolutions):
        return torch.randn(1, 3, 20, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return torch.tensor([[1, 7, 2, 9, 4, 10]])


def outputs(model, base):
    model.eval()
    with torch.no_grad():
        answer = model(inputs(base))
    return answer if torch.is_tensor(answer) else answer.logits


def stored(model):
    """Without tensors that are tied to others."""
    kept, seen = {}, set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        kept[name] = tensor.detach().clone().contiguous()
    return kept


def randomise(model, generator):
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("lora_", "ia3_", "trainable_tokens_delta", "modules_to_save")) or (
                name.endswith(".bias") and parameter.requires_grad):
            scale = 0.3
            noise = torch.randn(parameter.shape, generator=generator) * scale
            # Magnitudes stay positive, (IA)3 vectors near one.
            near = 1.0 if ("magnitude" in name or "ia3_" in name) else 0.0
            parameter.data = (noise + near).to(parameter.dtype)


def make(name, build, config):
    folder = os.path.join(ROOT, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    torch.manual_seed(sum(map(ord, name)))
    base = build()
    generator = torch.Generator().manual_seed(len(name))
    for parameter in base.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    save_file(stored(base), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    if hasattr(base, "config"):
        kept = ("architectures", "model_type", "tie_word_embeddings")
        base.config.architectures = [type(base).__name__]
        values = {key: value for key, value in base.config.to_dict().items() if key in kept}
        json.dump(values, open(os.path.join(folder, "config.json"), "w"), indent=1, default=str)
    model = get_peft_model(base, config)
    randomise(model, generator)
    adapter = os.path.join(folder, "adapter")
    model.save_pretrained(adapter, save_embedding_layers=False)
    os.remove(os.path.join(adapter, "README.md"))
    path = os.path.join(adapter, "adapter_config.json")
    values = json.load(open(path))
    json.dump(values, open(path, "w"), indent=1)

    # Again from the files, in float64.
    again = build()
    again.load_state_dict(load_file(os.path.join(folder, "model.safetensors")), strict=False)
    if hasattr(again, "tie_weights"):
        again.tie_weights()
    wrapped = PeftModel.from_pretrained(again.double(), adapter).double()
    expected = outputs(wrapped, again)
    merged = wrapped.merge_and_unload().double()
    found = outputs(merged, again)
    golden = {key: value for key, value in stored(merged).items()}
    apart = (expected - found).abs().max().item()
    if name == "embedding_tied":
        assert apart > 1e-3, "PEFT changes the tied head with the embedding"
        own = load_file(os.path.join(folder, "model.safetensors"))
        golden["lm_head.weight"] = own["model.embed_tokens.weight"].double()
        untied = llama(False).double()
        untied.load_state_dict(golden)
        apart = (expected - outputs(untied, again)).abs().max().item()
    assert apart < 1e-10, (name, apart)
    changed = load_file(os.path.join(folder, "model.safetensors"))
    differing = {key: value for key, value in golden.items() if key not in changed or not torch.equal(value, changed[key].double())}
    save_file(differing, os.path.join(folder, "golden.safetensors"))
    size = sum(os.path.getsize(os.path.join(at, file)) for at, _, files in os.walk(folder) for file in files)
    print(f"{name}: {len(differing)} tensors changed, merged and unmerged {apart:.1e} apart, {size / 1000:.0f} kB")


for name, (build, config) in CASES.items():
    make(name, build, config)
