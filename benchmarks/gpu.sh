#!/usr/bin/env bash
# What a GPU has to say, in order of worth: bash benchmarks/gpu.sh FOLDER [--reference NAME=PATH ...], paths from the root.
#
# Each step has a limit of its own, twenty minutes together, and keeps what it measured; one that fails stops nothing, and
# whoever has less time stops it with Ctrl-C. Logs and tables come to FOLDER as they are made. QUICK=--quick tries all of it in
# eight minutes on a CPU.
set -u
if [ $# = 0 ]; then
    echo "bash benchmarks/gpu.sh FOLDER [--reference NAME=PATH ...]" >&2
    exit 2
fi
out=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.." && mkdir -p "$out" || exit 2
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the project need not be installed there
python=${PYTHON:-python3}
quick=${QUICK:-}
mark=$(mktemp)

step() { # limit in seconds, name, command
    local limit=$1 name=$2
    shift 2
    touch "$mark"
    timeout --signal=INT --kill-after=10 "$limit" "$python" "$@" >"$out/$name.log" 2>&1
    echo "$name: exit $?, $SECONDS s in all; $(grep -c . "$out/$name.log") lines"
    find benchmarks/results -name '*.csv' -newer "$mark" -exec cp {} "$out/$name.csv" \;
}

fast=(--ours "bf16=precision=bf16" --ours "compiled=precision=bf16 compile=default")
all=("${fast[@]}" --ours "fp32=precision=fp32" --ours "tf32=precision=tf32" --ours "tuned=precision=bf16 compile=max")
step 60 tests -m pytest -q -p no:cacheprovider tests/robustray/test_trainer.py tests/robustray/test_precision.py
step 200 preact_resnet18 benchmarks/train.py $quick --repeats 1 "${fast[@]}" "$@"
step 60 breakdown benchmarks/breakdown.py $quick --set precision=bf16
step 90 breakdown_compiled benchmarks/breakdown.py $quick --set precision=bf16 --set compile=default
step 150 wide_resnet benchmarks/train.py $quick --repeats 1 --model wide_resnet "${fast[@]}" "$@"
step 120 judge benchmarks/judge.py $quick
step 120 batch benchmarks/growth.py $quick --axes batch
step 120 large_batch benchmarks/train.py $quick --repeats 1 --batch 512 "${fast[@]}" "$@"
step 300 settings benchmarks/train.py $quick --repeats 1 "${all[@]}"
