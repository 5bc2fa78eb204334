#!/usr/bin/env bash
# Measurements on two large GPUs (80 GB) of one host, stage by stage: benchmarks/gpu/two.sh [STAGE...]
#   shapes        model folders of Qwen3-8B's shape with random weights, and the family `shape` (25 GB in WORK)
#   ranks         quantized_checkpoint on one GPU and on two (`quantization.ranks: 2`), LAYERS layers; how many of the
#                 weights differ, and how many do on one GPU if only the order of the rows changes
#   serving       `faq run` with the 8B shape as teacher on one GPU, as two copies, and with its layers on both; of the
#                 last two a process is killed with -9
#   cells         cells at once through Dagster's daemon, some quantized on both GPUs
#   rounds        processes that ask for one or two GPUs, 20 times each
#   study         `faq study run` for MINUTES on one GPU, then on both
# Each stage has a limit and writes NAME.json and NAME.log in OUT. Needs vLLM: `faq engines install vllm` or FAQ_VLLM.
# PYTHON is this package's. A stage that fails does not stop the next. NVLink's multicast stays off.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-/tmp/faq-two}; work=${WORK:-/tmp/faq-two-work}; python=${PYTHON:-python}; layers=${LAYERS:-12}; failed=0
mkdir -p "$out" "$work/keep"
export FAQ_HOME=${FAQ_HOME:-$work/faq} PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 PYTHONWARNINGS=ignore
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1 VLLM_ALLREDUCE_USE_SYMM_MEM=0

# step NAME SECONDS COMMAND...: with a limit, its output in a log, and the end of that
step() {
  local name=$1 limit=$2 began=$SECONDS code; shift 2
  timeout -k 15 "$limit" "$@" >> "$out/$name.log" 2>&1; code=$?
  [[ $code == 0 ]] || failed=1
  tail -n 12 "$out/$name.log" | cut -c1-3000
  echo "== $name: exit code $code, $((SECONDS - began)) s"
}

shapes() {
  [[ -e $work/shape-$layers/model.safetensors.index.json ]] ||
    step shapes 120 "$python" -m benchmarks.gpu.shape "$work/shape-$layers" --layers "$layers"
  step shapes 240 "$python" -m benchmarks.gpu.spread "$work/spread" --arms ""
}

ranks() {
  step ranks 400 "$python" -m benchmarks.gpu.quantization "$work/shape-$layers" --arms "${ARMS:-ours,ranks,reversed}" \
    --scratch "$work" --keep "$work/keep" --out "$out/ranks.json"
}

serving() {
  step serving "${LIMIT:-900}" "$python" -m benchmarks.gpu.spread "$work/spread" --out "$out/serving.json"
}

cells() { step cells 420 "$python" -m benchmarks.gpu.cells "$work/cells" --ranks --out "$out/cells.json"; }

rounds() { step rounds 200 "$python" -m benchmarks.gpu.rounds --out "$out/rounds.json"; }

study() {
  step study 420 "$python" -m benchmarks.gpu.study "$work/study" --minutes "${MINUTES:-2}" --out "$out/study.json"
}

for stage in ${*:-shapes ranks serving cells rounds study}; do
  case $stage in
    shapes | ranks | serving | cells | rounds | study) "$stage" ;;
    *) echo "no stage $stage"; failed=1 ;;
  esac
done
exit $failed
