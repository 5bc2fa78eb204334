#!/usr/bin/env bash
# Makes the family on two GPUs of one host: the teacher on the first, the others on the second.
# Usage: training/run_two_gpus.sh OUT [extra options of `python -m training member`]
# Leaves in OUT one tar a member and one log a GPU.
set -u
out=$(mkdir -p "${1:?usage: run_two_gpus.sh OUT}" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
python=${PYTHON:-python}
workers=${WORKERS:-15}
second=${SECOND_GPU:-cuda:1}
first=${FIRST_GPU:-cuda:0}
work=$(mktemp -d)

[ -f data/models/kin-tokenizer/tokenizer.json ] || "$python" -m training tokenizer || exit 1

make_member() { # name, device, minutes of training at most, more options
  local name=$1 device=$2 minutes=$3
  shift 3
  "$python" -m training member "$name" --out "$work" --device "$device" --workers "$workers" \
    --max-minutes "$minutes" "$@"
  local rc=$?
  [ -f "$work/$name/model.safetensors" ] && tar -C "$work" -cf "$out/$name.tar" "$name"
  return $rc
}

(make_member kin-8m "$first" "${MINUTES_8M:-7.3}" "$@") >"$out/gpu0.log" 2>&1 &
one=$!
(
  make_member kin-4m "$second" "${MINUTES_4M:-4.6}" "$@"
  a=$?
  make_member kin-2m "$second" "${MINUTES_2M:-2.3}" "$@"
  exit $((a + $?))
) >"$out/gpu1.log" 2>&1 &
two=$!
wait $one
rc=$?
wait $two
rc=$((rc + $?))
rm -rf "$work"
grep -h "^RESULT\|shortened\|Error" "$out"/gpu*.log
ls -l "$out"
exit $rc
