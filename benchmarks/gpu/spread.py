"""`faq run` with a teacher on one GPU, on two as two copies, and on two that share each layer.

    python -m benchmarks.gpu.spread FOLDER [--arms one,copies,shards] [--kill copies,shards] [--out FILE]

FOLDER gets a family `shape` (a teacher of Qwen3-8B's shape and a small target, random weights) and a
recipe for each arm; each arm is one `faq run` with `serving` as the arm has it. Prompts are random
words; every arm draws its own samples; with `--arms ""` none is run. The corpus tells its tokens/s, and the
ledger how long it took to the half of the samples, which no kill disturbs.

In an arm under `--kill` one of vLLM's engine or worker processes is killed with -9 when three quarters
of the tokens are there: the server has to be started again and the run to end well. After each arm no
process of vLLM may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.gpu.shape import make_shape
from faq_pipeline.inference.server.metrics import parse_metrics
from faq_pipeline.models.gpus import Gpu, free_memory, installed_gpus
from faq_pipeline.settings import Settings

ARMS: dict[str, dict[str, int]] = {
    "one": {},
    "copies": {"data_parallel": 2},
    "shards": {"tensor_parallel": 2},
}
KILLED = {"copies": "EngineCore_DP1", "shards": "Worker_TP1"}
"""Part of the title of the process that is killed. Where there is none: any of the same kind."""
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
SMALL = {"hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 4, "num_key_value_heads": 2}
TASK = """\
task: shape_sums
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {until: ["\\n\\n"], do_sample: false}
filter_list:
  - {name: answer, filter: [{function: regex, regex_pattern: "Answer: *(.+)"}, {function: take_first}]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


def main() -> None:
    """Make what is not there, run the arms, print and write."""
    options = _options()
    prepare(options)
    result: dict[str, Any] = {"options": vars(options), "arms": {}}
    for number, arm in enumerate(filter(None, options.arms.split(","))):
        result["arms"][arm] = run_arm(options, arm, number)
        _compare(result["arms"])
        if options.out:
            options.out.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")


def prepare(options: argparse.Namespace) -> None:
    """The family's models, seeds and tasks."""
    root: Path = options.folder
    for kind in ("families", "recipes", "models", "seeds", "eval"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    shapes = {"target": {**SMALL, "num_hidden_layers": 2}, "teacher": {"num_hidden_layers": options.layers}}
    for name, changes in shapes.items():
        folder = root / "models" / name
        if not (folder / "model.safetensors.index.json").exists():
            make_shape(folder, {**changes, **options.change})
        if not (folder / "chat_template.jinja").exists():
            _finish(folder)
    words = _Words(root / "models/target")
    seeds = [
        {
            "id": f"s{i}",
            "kind": "text",
            "text": words.draw(options.length),
            "domain": "words",
            "source": "drawn",
        }
        for i in range(options.prompts)
    ]
    _write_lines(root / "seeds/words.jsonl", [{**seed, "licence": "Apache-2.0"} for seed in seeds])
    _write_lines(root / "eval/prose.jsonl", [{"id": f"p{i}", "text": words.draw(128)} for i in range(16)])
    questions = [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(16)]
    for name in ("questions", "development"):
        _write_lines(root / f"eval/{name}.jsonl", [{**question, "task": "sums"} for question in questions])
    (root / "eval/shape_sums.yaml").write_text(TASK)


def run_arm(options: argparse.Namespace, arm: str, number: int) -> dict[str, Any]:
    """One `faq run`, watched."""
    _write_family(options, arm, number)
    environment = {**os.environ, "FAQ_DATA": str(options.folder)}
    command = [
        *(sys.executable, "-m", "faq_pipeline", "run"),
        "--member",
        "target",
        "--recipe",
        f"shape-{arm}",
    ]
    total = options.prompts * options.candidates * options.new_tokens
    killed = KILLED.get(arm) if arm in options.kill.split(",") else None
    started = time.monotonic()
    log = options.folder / f"{arm}.log"
    with log.open("w") as told:
        run = subprocess.Popen([*command, "--json"], env=environment, stdout=subprocess.PIPE, stderr=told)
        watcher = _Watcher(run.pid, total, killed)
        watcher.start()
        said, _ = run.communicate()
    watcher.stop()
    seconds = time.monotonic() - started
    found: dict[str, Any] = {"exit_code": run.returncode, "seconds": round(seconds, 1), **watcher.found()}
    found["left_over"] = _left_over()
    found["gib_left_taken"] = [_taken(gpu) for gpu in installed_gpus()]
    if run.returncode == 0:
        found["stages"] = {row["asset"]: row["seconds"] for row in json.loads(said)["stages"]}
        found["corpus"] = _corpus_figures()
        found["half"] = _half()
    else:
        found["log"] = log.read_text()[-2000:]
    print(f"{arm}: {json.dumps(found)}", flush=True)
    return found


class _Watcher(threading.Thread):
    """Reads the server's counters, and kills one of its processes where it is told to."""

    def __init__(self, pid: int, total: int, killed: str | None) -> None:
        super().__init__(daemon=True)
        self._pid, self._total, self._killed = pid, total, killed
        self._ended = threading.Event()
        self._begun = time.monotonic()
        self._ready: float | None = None
        self._kill: dict[str, Any] = {}

    def run(self) -> None:
        while not self._ended.wait(0.5):
            tokens = self._tokens()
            if tokens is None:
                continue
            now = time.monotonic()
            if self._kill and "back_after" not in self._kill:
                self._kill["back_after"] = round(now - self._kill["at"], 1)
            if self._ready is None:
                self._ready = round(now - self._begun, 1)
            if self._killed and not self._kill and tokens >= 0.75 * self._total:
                self._kill_one(now, tokens)

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def found(self) -> dict[str, Any]:
        return {"first_answer_after": self._ready, "kill": self._kill}

    def _kill_one(self, now: float, tokens: int) -> None:
        family = {process.pid: " ".join(process.cmdline()) for process in _vllm_below(self._pid)}
        wanted = [pid for pid, title in family.items() if self._killed and self._killed in title]
        wanted = wanted or [pid for pid, title in family.items() if "VLLM::" in title and "API" not in title]
        os.kill(wanted[0], 9)
        self._kill = {"at": now, "after_tokens": tokens, "title": family[wanted[0]], "family": len(family)}
        _, alive = psutil.wait_procs([psutil.Process(p) for p in family if psutil.pid_exists(p)], timeout=30)
        self._kill["gone_after"] = round(time.monotonic() - now, 1)
        self._kill["outlived"] = [process.pid for process in alive]

    def _tokens(self) -> int | None:
        """What the server has generated; None while it does not answer."""
        for process in _vllm_below(self._pid):
            for argument in _command_line(process):
                if argument.startswith("--port="):
                    return _generated(argument.removeprefix("--port="))
        return None


def _generated(port: str) -> int | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return int(parse_metrics(answer.read().decode()).generation_tokens)
    except OSError:
        return None


def _vllm_below(pid: int) -> list[psutil.Process]:
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in below if _is_vllm(process)]


def _is_vllm(process: psutil.Process) -> bool:
    line = " ".join(_command_line(process))
    return "VLLM::" in line or "vllm.entrypoints" in line


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _left_over() -> list[str]:
    """Processes of vLLM that are still there."""
    return [" ".join(_command_line(process))[:80] for process in psutil.process_iter() if _is_vllm(process)]


def _taken(gpu: Gpu) -> float | None:
    """GiB of a GPU's memory that are in use."""
    free = free_memory(gpu)
    return None if free is None else round((gpu.memory - free) / 2**30, 1)


def _corpus_figures() -> dict[str, Any]:
    """What the newest corpus of the store says of itself."""
    made = [
        a for a in Settings.from_environment().store.artifacts() if a.manifest.stage == "regenerated_corpus"
    ]
    newest = max(made, key=lambda artifact: artifact.manifest.created)
    names = ("candidates", "failed", "tokens", "tokens_per_second", "sampling_seconds", "engine")
    return {name: newest.metadata[name] for name in names}


def _half() -> dict[str, float]:
    """How long the first half of the samples of the newest ledger took, by the engine's clock."""
    segments = Settings.from_environment().store.ledgers.glob("*/*.jsonl")
    newest = max(segments, key=lambda path: path.stat().st_mtime_ns)
    rows = [json.loads(line) for line in newest.read_text(encoding="utf-8").splitlines()]
    rows = rows[: len(rows) // 2]
    tokens, seconds = sum(row["completion"]["tokens"] for row in rows), sum(row["seconds"] for row in rows)
    return {"tokens": tokens, "seconds": round(seconds, 2), "tokens_per_second": round(tokens / seconds, 1)}


def _compare(arms: dict[str, Any]) -> None:
    """Tokens/s of each arm over those on one GPU: of all samples, and of the first half."""
    for name in ("corpus", "half"):
        speeds = {arm: found[name]["tokens_per_second"] for arm, found in arms.items() if name in found}
        if "one" in speeds:
            ratios = {arm: round(speed / speeds["one"], 3) for arm, speed in speeds.items()}
            print(f"{name}: tokens/s {speeds}, over one GPU: {ratios}", flush=True)


def _write_family(options: argparse.Namespace, arm: str, number: int) -> None:
    """The family as the arm serves its teacher, and the arm's recipe with samples of its own."""

    def member(name: str, **more: Any) -> dict[str, Any]:
        size = sum(path.stat().st_size for path in (options.folder / "models" / name).glob("*.safetensors"))
        return {"name": name, "path": f"../models/{name}", "parameters": size // 2, **more}

    serving = {**ARMS[arm], "context": 4096, "arguments": options.arguments}
    family = {
        "name": "shape",
        "licence": "Apache-2.0",
        "memory_budget_gib": 120,
        "development": "../eval/development.jsonl",
        "thinking": {"open": "", "close": "</think>"},
        "prompts": {"question": "{{ text }}", "text": "{{ text }}"},
        "members": [member("target"), member("teacher", serving=serving)],
    }
    recipe = {
        "name": f"shape-{arm}",
        "title": f"Shapes, teacher: {arm}",
        "families": ["shape"],
        "draw": number,
        "baselines": [],
        "seeds": {"path": "../seeds/words.jsonl", "count": options.prompts},
        "regeneration": {
            "source": "teacher",
            "teacher": "teacher",
            "engine": options.engine,
            "candidates": options.candidates,
            "sampling": {"temperature": 0.8, "max_new_tokens": options.new_tokens},
        },
        "competition": {"experts": {"length": 1.0}},
        "calibration": {"tokens": 16384, "sequence_length": 512},
        "quantization": {"method": "gptq", "scheme": "W4A16", "group_size": 128, "dampening": 0.1},
        "evaluation": {
            "tasks": ["shape_sums"],
            "include": "../eval",
            "max_new_tokens": 16,
            "prose": "../eval/prose.jsonl",
            "traces": 4,
        },
    }
    for kind, content in (("families", family), ("recipes", recipe)):
        path = options.folder / kind / f"{content['name']}.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")


def _finish(folder: Path) -> None:
    """A chat template, an end mark and a pad token, which the pipeline asks of a member: two of the words.

    The end mark's output weights are doubled: one token in some thousands is one, so that the competition
    has winners and nearly all samples have their full length.
    """
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    last = len(tokenizer) - 1
    end, pad = tokenizer.convert_ids_to_tokens([last, last - 1])
    tokenizer.add_special_tokens({"eos_token": end, "pad_token": pad})
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    rest = folder / "model-rest.safetensors"
    tensors = load_file(rest)
    tensors["lm_head.weight"][last] *= 2
    save_file(tensors, rest, metadata={"format": "pt"})


class _Words:
    """Draws texts of random words of the shapes' vocabulary, a token each."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._random = random.Random(0)

    def draw(self, length: int) -> str:
        ids = self._random.choices(range(256, len(self._tokenizer) - 2), k=length)
        return str(self._tokenizer.decode(ids)).strip()


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arms", default="one,copies,shards")
    parser.add_argument("--kill", default="copies,shards")
    parser.add_argument("--layers", type=int, default=36, help="of the teacher")
    parser.add_argument("--change", type=json.loads, default={}, help="JSON: more fields of both configs")
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--length", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--engine", default="vllm", help="transformers: to try the script itself")
    parser.add_argument("--arguments", type=json.loads, default={}, help="JSON: more options of the server")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    return options


if __name__ == "__main__":
    main()
