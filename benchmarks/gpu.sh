#!/usr/bin/env bash
# What a GPU has to say, in order of worth: bash benchmarks/gpu.sh FOLDER [--reference NAME=PATH ...], paths from the root.
#
# Each step has a limit of its own and keeps what it measured until then; one that fails stops nothing. Logs and tables come to
# FOLDER as they are made. For a machine that is lent by the minute:
#   LIMIT=540        seconds for all of it; what no longer fits is left out, and named
#   ONLY="judge ..." only these steps
#   IMAGES=FOLDER    images to judge on, train/CLASS and test/CLASS (else small ones)
#   QUICK=--quick    all of it in ten minutes on a CPU, to see that it runs
# The project and Ray need not be installed; pydantic, optuna, moocore and pyautoattack must be, for tests pytest and hypothesis.
# benchmarks/jpeg_trades.yaml is a sweep for what time is left.
set -u
if [ $# = 0 ]; then
    echo "bash benchmarks/gpu.sh FOLDER [--reference NAME=PATH ...]" >&2
    exit 2
fi
out=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.." && mkdir -p "$out" || exit 2
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python3}
quick=${QUICK:-}
limit=${LIMIT:-1500}
mark=$(mktemp)
trap 'rm -f "$mark"' EXIT

step() { # seconds at most, name, command
    local seconds=$1 name=$2 left=$((limit - SECONDS))
    shift 2
    if [ -n "${ONLY:-}" ] && [[ " $ONLY " != *" $name "* ]]; then return; fi
    if [ "$left" -lt 20 ]; then
        echo "$name: left out"
        return
    fi
    touch "$mark"
    timeout --signal=INT --kill-after=10 "$((seconds < left ? seconds : left))" "$python" "$@" >"$out/$name.log" 2>&1
    echo "$name: exit $?, $SECONDS s in all; $(tail -n 1 "$out/$name.log")"
    find benchmarks/results -name '*.csv' -newer "$mark" -exec cp {} "$out/$name.csv" \;
    find docs/performance -name '*.png' -newer "$mark" -exec cp {} "$out" \;
}

tests=(-m pytest -q -p no:cacheprovider -k "cuda or device_itself or dropout_masks" tests/robustray/test_cuda.py
    tests/robustray/test_trainer.py tests/robustray/test_defenses.py)
fast=(--repeats 1 --precision bf16 --ours "bf16=precision=bf16" --ours "compiled=precision=bf16 compile=default")
rest=(--repeats 1 --ours "fp32=precision=fp32" --ours "tf32=precision=tf32" --ours "tuned=precision=bf16 compile=max")
judged=(${IMAGES:+--cases images --images "$IMAGES"})
step 90 tests "${tests[@]}" --deselect tests/robustray/test_cuda.py::test_recorded_training_learns_the_same
step 240 preact_resnet18 benchmarks/train.py $quick "${fast[@]}" "$@"
step 60 breakdown benchmarks/breakdown.py $quick --precision bf16
step 90 breakdown_compiled benchmarks/breakdown.py $quick --precision bf16 --set compile=default
step 180 wide_resnet benchmarks/train.py $quick --model wide_resnet "${fast[@]}" "$@"
step 150 judge benchmarks/judge.py $quick "${judged[@]}"
step 120 batch benchmarks/growth.py $quick --axes batch --precision bf16
step 180 recorded -m pytest -q -p no:cacheprovider tests/robustray/test_cuda.py -k recorded
step 240 settings benchmarks/train.py $quick "${rest[@]}"
step 120 large_batch benchmarks/train.py $quick --batch 512 "${fast[@]}" "$@"
