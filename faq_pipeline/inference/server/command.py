"""Command line and environment variables of a vLLM server."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faq_pipeline.config.family import Serving
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.environment.environment import Environment
from faq_pipeline.inference.environment.python_probe import clean_environment
from faq_pipeline.inference.server.ports import HOST
from faq_pipeline.models.cpu_threads import usable_cores
from faq_pipeline.models.device import device_gpus
from faq_pipeline.models.device_memory import device_memory
from faq_pipeline.models.gpus import VISIBLE
from faq_pipeline.models.model_context import context_of

GIB = 2**30
OURS = {
    "host", "port", "uds", "model", "served-model-name", "tensor-parallel-size", "pipeline-parallel-size",
    "data-parallel-size", "max-model-len", "gpu-memory-utilization", "trust-remote-code", "api-key",
}  # fmt: skip
"""Options that `serving.arguments` may not set: another field does, or the server's owner."""

KEY_VARIABLE = "VLLM_API_KEY"
"""Environment variable from which vLLM takes the key that requests must carry."""
NOT_THEIRS = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "FAQ_HUB_WRITE_TOKEN"}
"""Variables that a server does not get: it downloads nothing, and may run a repository's own code."""

SEQUENCES = 1024
"""Sequences that a GPU with enough memory works on at one time."""
VLLMS_LARGEST_GRAPH = 512
"""Sequences of the largest CUDA graph that vLLM makes by itself."""
GRAPHS_TOLD = {"enforce-eager", "compilation-config", "cudagraph-capture-sizes"}
"""Options with which somebody decides about graphs himself."""
MOST_FRONTS = 8
"""Processes that speak HTTP before one engine, at most."""
CORES_A_FRONT = 4
"""CPU cores for each of them: the engine and its workers need some too."""

Options = dict[str, bool | int | float | str]


def server_command(
    environment: Environment,
    folder: Path,
    served_name: str,
    serving: Serving,
    device: str,
    port: int,
    *,
    trust_remote_code: bool = False,
) -> list[str]:
    """How to start a server of `folder` on 127.0.0.1.

    Raises:
        FaqError: `serving.arguments` sets a reserved option, or the device has too few GPUs.
    """
    _check_gpus(serving, device)
    own = _own_arguments(serving)
    options: Options = {
        "served-model-name": served_name,
        "host": HOST,
        "port": port,
        "dtype": "bfloat16",
        "seed": 0,
        # Sampling is the request's alone, whatever the member's generation_config.json says.
        "generation-config": "vllm",
        "enable-prefix-caching": True,
        "disable-uvicorn-access-log": True,
        "tensor-parallel-size": serving.tensor_parallel,
        "pipeline-parallel-size": serving.pipeline_parallel,
        "data-parallel-size": serving.data_parallel,
        **({"max-model-len": serving.context} if serving.context else {}),
        **({"trust-remote-code": True} if trust_remote_code else {}),
        **(_cpu_options(folder, serving) if device == "cpu" else _gpu_options(serving, device, own)),
        **own,
    }
    if device == "cpu":  # its distribution is not called vllm, and vLLM's command looks that name up
        start = ["-m", "vllm.entrypoints.openai.api_server", f"--model={folder}"]
    else:
        start = ["-m", "vllm.entrypoints.cli.main", "serve", str(folder)]
    return [str(environment.python), *start, *_flags(options)]


def server_variables(folder: Path, serving: Serving, device: str, threads: int | None) -> dict[str, str]:
    """Environment variables of the server: this process's, without its Python's, and vLLM's own.

    Args:
        threads: CPU threads of each rank; vLLM's own choice where absent.
    """
    variables = {name: value for name, value in clean_environment().items() if name not in NOT_THEIRS}
    variables |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    variables |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if device == "cpu":
        # vLLM pins each rank to a memory node of its own, and most machines have one.
        variables.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        variables.setdefault("VLLM_CPU_KVCACHE_SPACE", str(_cache_space(folder, serving)))
        if threads is not None:
            variables["OMP_NUM_THREADS"] = str(threads)
    elif gpus := device_gpus(device):
        # By number in the driver's order: not every vLLM can read a UUID here.
        variables |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        variables |= {VISIBLE: ",".join(str(gpu.number) for gpu in gpus)}
    return variables


def _check_gpus(serving: Serving, device: str) -> None:
    """Ray knows of GPUs on other machines; else all are here."""
    here = len(device_gpus(device))
    if 0 < here < serving.gpus and serving.arguments.get("distributed_executor_backend") != "ray":
        raise FaqError(
            f"'serving' spreads the member over {serving.gpus} GPUs, and this run may use {here} ({device})",
            hint="lower its tensor_, pipeline_ or data_parallel, or let the run use more GPUs",
        )


def _cpu_options(folder: Path, serving: Serving) -> Options:
    """Nothing is compiled, which takes a minute and a C++ compiler and gains little, and every layer
    is torch's own: some of the build's kernels stop eager runs with an illegal instruction. Prompts
    are read whole: a seeded request whose prompt is read in chunks kills the CPU engine.
    """
    return {
        "enforce-eager": True,
        "compilation-config": '{"custom_ops": ["none"]}',
        "enable-chunked-prefill": False,
        "max-num-batched-tokens": max(16384, _context(folder, serving)),
    }


def _gpu_options(serving: Serving, device: str, own: Options) -> Options:
    """Many sequences at once, where the memory holds their logits besides the weights, with CUDA graphs
    for that many: beyond the largest graph (of vLLM's own choice: 512) every layer of a step is launched
    from Python, which takes a third of the time of the engine's process (docs/PERFORMANCE.md). And
    several processes before the engine, which turn every token's log-probability into text.
    """
    options: Options = {
        "gpu-memory-utilization": serving.memory,
        "api-server-count": max(serving.data_parallel, min(MOST_FRONTS, usable_cores() // CORES_A_FRONT)),
    }
    if device_memory(device) >= 40 * GIB:
        options["max-num-seqs"] = SEQUENCES
        options["max-num-batched-tokens"] = 16384  # vLLM's own choice in process, twice its server's
        sequences = int(own.get("max-num-seqs", SEQUENCES))
        if sequences > VLLMS_LARGEST_GRAPH and not GRAPHS_TOLD & own.keys():
            options["max-cudagraph-capture-size"] = sequences
    return options


def _own_arguments(serving: Serving) -> Options:
    own = {name.replace("_", "-").lstrip("-"): value for name, value in serving.arguments.items()}
    if taken := sorted(OURS & own.keys()):
        raise FaqError(
            f"serving.arguments sets {taken[0]!r}",
            hint="use the fields of 'serving'; trust_remote_code is the member's",
        )
    return own


def _flags(options: Mapping[str, bool | int | float | str]) -> list[str]:
    flags: list[str] = []
    for name, value in options.items():
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        else:
            flags.append(f"--{name}={value}")
    return flags


def _cache_space(folder: Path, serving: Serving) -> int:
    """GiB for keys and values on a CPU: room for four sequences of full length, at least one GiB."""
    config = _config(folder)
    try:
        heads = config.get("num_key_value_heads") or config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        per_token = 2 * 2 * config["num_hidden_layers"] * heads * size
    except KeyError:
        return 1
    return max(1, math.ceil(4 * _context(folder, serving) * per_token / GIB))


def _context(folder: Path, serving: Serving) -> int:
    return serving.context or context_of(_config(folder), folder / "config.json") or 0


def _config(folder: Path) -> dict[str, Any]:
    """The model's configuration; of its text part where it has several."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError:
        return {}
    return dict(config.get("text_config") or config)
