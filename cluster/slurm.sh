#!/bin/bash
# One Ray cluster in one allocation of Slurm, for one command; it ends with it.
#
#   sbatch --nodes=2 --gpus-per-node=4 --time=12:00:00 cluster/slurm.sh python run_sweep.py my_space.yaml --results /shared
#
# `python run_sweep.py my_space.yaml --slurm='--nodes=2 ...'` prints this script filled in for a sweep. The folder of results has
# to be on a disk that all nodes share. Two minutes before the time is over, and where Slurm preempts the job with a notice,
# trials write a checkpoint; then the job queues itself again and goes on.
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -uo pipefail

[ "$#" -gt 0 ] || { echo "error: which command? sbatch cluster/slurm.sh python run_sweep.py my_space.yaml" >&2; exit 2; }

ray=("${PYTHON:-python}" -m ray.scripts.scripts)
nodes=${SLURM_JOB_NUM_NODES:-1}
head=$(hostname)
address=$(getent ahostsv4 "$head" | awk '$1 !~ /^127\./ { print $1; exit }')
address=${address:-$(hostname -i | tr ' ' '\n' | head -n 1)}
# Clusters of several jobs on one node keep apart: by ports that follow from the job's number, and a folder of their own.
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_ADDRESS="$address:$port" RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') # who has none runs nothing on these nodes
export RAY_AUTH_TOKEN

# CPUs are those of the allocation, which Ray does not ask about; GPUs it sees in CUDA_VISIBLE_DEVICES.
temporary=/tmp/ray-$SLURM_JOB_ID
{ mkdir -p "$temporary" && chmod 700 "$temporary"; } || exit 1
start=("${ray[@]}" start --block --object-store-memory="${RAY_OBJECT_STORE:-500000000}")
"${start[@]}" --head --node-ip-address="$address" --port="$port" --num-cpus="${SLURM_CPUS_ON_NODE:-1}" \
    --temp-dir="$temporary" --include-dashboard=false --ray-client-server-port=$((port + 10000)) >"$temporary/head.log" 2>&1 &
head_pid=$!
workers_pid=
# shellcheck disable=SC2329  # the trap calls it
cleanup() {
    trap - EXIT TERM USR1 INT
    # shellcheck disable=SC2086  # one or two numbers
    kill $head_pid $workers_pid 2>/dev/null
    wait
    case ${code:-1} in 0 | 130) rm -rf "$temporary" ;; esac # else its logs may be of use
}
trap cleanup EXIT

until grep -q "Ray runtime started" "$temporary/head.log"; do
    kill -0 "$head_pid" 2>/dev/null || { echo "error: Ray does not start on $head:" >&2; tail -n 3 "$temporary/head.log" >&2; exit 1; }
    sleep 1
done
if [ "$nodes" -gt 1 ]; then
    # A SIGTERM to a node is a notice: Ray waits so long for its jobs to leave.
    # shellcheck disable=SC2016  # each node has CPUs of its own
    RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=60 srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --ntasks-per-node=1 --exclude="${SLURMD_NODENAME:-$head}" --overlap \
        --cpu-bind=none bash -c 'exec "$@" --num-cpus="${SLURM_CPUS_ON_NODE:-1}"' start \
        "${start[@]}" --address="$RAY_ADDRESS" >/dev/null &
    workers_pid=$!
fi

notice=
woken=
trap 'notice=1 woken=1; kill -TERM "$command" 2>/dev/null' TERM USR1 INT
"$@" &
command=$!
code=
while [ -z "$code" ]; do # a signal ends a wait, but not the command
    woken=
    wait "$command"
    status=$?
    [ -n "$woken" ] || code=$status
done
trap - TERM USR1 INT
# 130: it stopped as asked, everything is kept. Whatever else ends it is not mended by another try.
if [ -n "$notice" ] && [ "$code" -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
