#!/usr/bin/env bash
# Measurements on one large GPU (80 GB), stage by stage: benchmarks/gpu/all.sh [STAGE...]
#   shapes        model folders of Qwen3-8B's shape with random weights, 36 and LAYERS layers (25 GB in WORK)
#   regeneration  our engine over bare LLM.generate; seeded candidates alone and in a batch. ALONE=0 CLIENT=1: instead of
#                 these a bare client on our server, with log-probabilities and without
#   invariant     seeded candidates with VLLM_BATCH_INVARIANT=1
#   quantization  quantized_checkpoint over a bare llmcompressor script, LAYERS layers, ARMS in this order
#   client        our client over a bare one on the same server, and vLLM over transformers, on kin-8m
#   kin           `faq run` on the embedded family with vLLM under teacher and target, then teacher scoring
# Each stage takes less than ten minutes (kin: twelve) and writes NAME.json and NAME.log in OUT. Needs vLLM: `faq engines
# install vllm` or FAQ_VLLM. PYTHON is this package's. A stage that fails does not stop the next.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-/tmp/faq-gpu}; work=${WORK:-/tmp/faq-gpu-work}; python=${PYTHON:-python}
layers=${LAYERS:-12}; arms=${ARMS:-ours,bare,bare-unbatched}; failed=0
mkdir -p "$out" "$work"
export FAQ_HOME=${FAQ_HOME:-$work/faq} PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 PYTHONWARNINGS=ignore

# step NAME SECONDS COMMAND...: with a limit, its output in a log, and the lines of it that tell something
step() {
  local name=$1 limit=$2 began=$SECONDS code; shift 2
  timeout -k 15 "$limit" "$@" >> "$out/$name.log" 2>&1; code=$?
  [[ $code == 0 ]] || { failed=1; tail -n 25 "$out/$name.log"; }
  echo "== $name: exit code $code, $((SECONDS - began)) s"
}

# told NAME PATTERN: lines of its log
told() { grep -aE "$2" "$out/$1.log" | tail -n 40; }

shapes() {
  step shapes 120 "$python" -m benchmarks.gpu.shape "$work/shape-$layers" --layers "$layers"
  step shapes 240 "$python" -m benchmarks.gpu.shape "$work/shape-36"
  told shapes 'GB in'
}

regeneration() {
  step regeneration 530 "$python" -m benchmarks.gpu.regeneration "$work/shape-36" --alone "${ALONE:-32}" \
    ${CLIENT:+--client} ${ARGUMENTS:+--arguments "$ARGUMENTS"} --out "$out/regeneration.json"
  told regeneration '^(our|bare|seeded|start)'
}

invariant() {
  VLLM_BATCH_INVARIANT=1 step invariant 300 "$python" -m benchmarks.gpu.regeneration "$work/shape-36" --rounds 0 \
    --alone 32 --out "$out/invariant.json"
  told invariant '^(our|seeded)'
}

quantization() {
  step quantization 540 "$python" -m benchmarks.gpu.quantization "$work/shape-$layers" --arms "$arms" \
    --scratch "$work" --out "$out/quantization.json"
  told quantization '^(ours|bare|quantize|the whole)'
}

client() {
  step client 300 "$python" -m benchmarks.regeneration --out "$out/client.json"
  told client '^(server|round|our|transformers)'
}

kin() {
  step kin 540 "$python" -m faq_pipeline run --member kin-4m --recipe faq-gptq-w4a16-vllm --json
  step scoring 180 "$python" -m benchmarks.gpu.scoring --out "$out/scoring.json"
  told kin '^ +(made|hit) |FaqError|Error:' ; told scoring 'scor|recorded'
}

for stage in "${@:-shapes regeneration quantization kin client invariant}"; do
  for one in $stage; do
    case $one in
      shapes | regeneration | invariant | quantization | client | kin) "$one" ;;
      *) echo "no stage $one"; failed=1 ;;
    esac
  done
done
exit $failed
