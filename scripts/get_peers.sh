#!/usr/bin/env bash
# Makes an environment of its own, .peers by default, with the packages that the benchmarks time
# quadric against: sae-lens and eai-sparsify. Nothing of it enters quadric's environment; torch gets
# the version that the given Python has, so that all run on the same products.
#
#     scripts/get_peers.sh [PYTHON] [FOLDER]
#
# The three packages of the last line come without their dependencies: pip tries release after release
# of sae-lens' and finds no set that fits. What their training steps import is listed instead.
set -euo pipefail

python=${1:-python3}
folder=${2:-$(cd "$(dirname "$0")/.." && pwd)/.peers}
torch=$("$python" -c 'import torch; print(torch.__version__)' 2>/dev/null) || {
  echo "get_peers.sh: $python has no torch: name the Python that has quadric, such as .venv/bin/python" >&2
  exit 1
}
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all:)

"$python" -m venv "$folder"
"${pip[@]}" "torch==$torch" "transformers==5.23.0" "datasets==5.2.0" "accelerate==1.15.0" \
  einops==0.8.2 jaxtyping==0.3.11 beartype==0.23.1 typeguard==4.6.0 rich==15.0.0 tenacity==9.2.1 \
  python-dotenv==1.2.4 simple-parsing==0.1.9 natsort==8.4.0 schedulefree==1.4.1 \
  sentencepiece==0.2.3 plotly==7.1.0 nltk==3.10.4 fancy_einsum==0.0.3 better_abc==0.0.3 \
  wandb==0.31.0
"${pip[@]}" --no-deps sae-lens==6.54.12 transformer-lens==3.9.0 eai-sparsify==1.3.3
"$folder/bin/python" -W ignore -c 'import sae_lens, sparsify' >/dev/null
echo "the peers are in $folder"
