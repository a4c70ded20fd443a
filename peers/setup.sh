#!/usr/bin/env bash
# Installs the Python peers that comparisons use, from PyPI, into peers/.venv. The product and its tests need none of it.
set -euo pipefail
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/pip install --quiet --upgrade pip
.venv/bin/pip install --quiet mergekit==0.1.5 peft safetensors
.venv/bin/python -c "import mergekit, torch; print('mergekit ready, torch', torch.__version__)"
