"""Loads a merged folder with transformers and checks that no weight is missing or left over."""
import sys

from transformers import AutoConfig, AutoModelForCausalLM, ViTForImageClassification

folder = sys.argv[1]
config = AutoConfig.from_pretrained(folder)
model_class = ViTForImageClassification if config.model_type == "vit" else AutoModelForCausalLM
model, info = model_class.from_pretrained(folder, output_loading_info=True)
print(type(model).__name__, sum(p.numel() for p in model.parameters()), "parameters")
print({key: sorted(value) for key, value in info.items() if value})
