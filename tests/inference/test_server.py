"""The managed server, with a stub in vLLM's place: what keeps it alive, and that it never outlives us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from faq_pipeline.config.family import Serving
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.client.client import Client
from faq_pipeline.inference.client.server_address import ServerAddress
from faq_pipeline.inference.environment.environment import find_environment
from faq_pipeline.inference.server.command import server_command, server_variables
from faq_pipeline.inference.server.metrics import ServerMetrics
from faq_pipeline.inference.server.server import Server
from faq_pipeline.inference.server.server_error import ServerFailedError
from tests.gpu.fakes import have_cores, make_gpus
from tests.inference.stub_vllm import make_stub

SOON = 30.0


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder through which a test speaks to the stub."""
    folder = tmp_path / "told"
    folder.mkdir()
    monkeypatch.setenv("FAQ_VLLM", str(make_stub(tmp_path / "stub")))
    monkeypatch.setenv("STUB", str(folder))
    monkeypatch.setenv("FAQ_HOME", str(tmp_path / "home"))
    return folder


def make_server(told: Path, **options: object) -> Server:
    logs = told.parent / "logs"
    what = {"restarts": 2, "patience": 2.0, "start_timeout": 20.0, "logs": logs} | options
    model = told.parent / "model"
    return Server(find_environment(), model, "tiny", Serving(), "cpu", **what)  # type: ignore[arg-type]


def processes(told: Path, start: int = -1) -> list[int]:
    """The server of one start, its child, and its child in a session of its own."""
    return [int(pid) for pid in (told / "pids").read_text().splitlines()[start].split()]


def starts(told: Path) -> int:
    return len((told / "pids").read_text().splitlines())


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def gone(pids: list[int]) -> bool:
    """Zombies are gone too: nobody but their parent can clear them away."""

    def runs(pid: int) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return False

    return until(lambda: not any(runs(pid) for pid in pids))


def get(server: Server, path: str) -> None:
    with contextlib.suppress(OSError), urllib.request.urlopen(server.base_url[: -len("/v1")] + path):
        pass


def test_serves_and_ends_with_its_block(told: Path) -> None:
    with make_server(told) as server:
        server.wait_ready(SOON)
        pids = processes(told)
        assert all(psutil.pid_exists(pid) for pid in pids)
        assert server.restarts_used == 0
    assert gone(pids)
    with pytest.raises(RuntimeError):
        server.check()


def test_arguments_and_variables_reach_the_server(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    serving = Serving(
        data_parallel=2, context=256, arguments={"max_num_seqs": 7, "enable_chunked_prefill": True}
    )
    environment = find_environment()
    with Server(environment, told, "tiny", serving, "cpu", logs=told, threads=1) as server:
        server.wait_ready(SOON)
    arguments = (told / "arguments").read_text().splitlines()
    assert "--data-parallel-size=2" in arguments
    assert "--max-model-len=256" in arguments
    assert "--max-num-seqs=7" in arguments
    assert "--enable-chunked-prefill" in arguments  # the family's word is the last
    assert "--no-enable-chunked-prefill" not in arguments
    assert not any("trust-remote-code" in argument for argument in arguments)
    variables = dict(
        line.split("=", 1) for line in (told / "variables").read_text().splitlines() if "=" in line
    )
    assert variables["HF_HUB_OFFLINE"] == variables["VLLM_NO_USAGE_STATS"] == "1"
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == variables["OMP_NUM_THREADS"] == "1"
    assert "/nowhere" not in variables["PYTHONPATH"]


def test_a_server_answers_with_its_key_alone_and_nobody_else_can_read_it(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in no argument that `ps` shows and in no log; tokens for the hub are kept from the server."""
    for name in ("HF_TOKEN", "FAQ_HUB_WRITE_TOKEN", "VLLM_API_KEY"):
        monkeypatch.setenv(name, "planted")
    with make_server(told) as server:
        server.wait_ready(SOON)
        address = ServerAddress(server.base_url, server.key)
        assert Client([address]).check() == "tiny"
        with pytest.raises(FaqError, match="denies access") as error:
            Client([ServerAddress(server.base_url)]).check()
        here = psutil.Process().children(recursive=True)
        shown = []
        for process in here:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                shown.append(" ".join(process.cmdline()))
    assert any("api_server" in line for line in shown)
    said = [*shown, server.log.read_text(), str(error.value), repr(address), str(FaqError(server.key))]
    assert not any(server.key in text for text in said)
    assert make_server(told).key != server.key and len(server.key) > 40
    assert "planted" not in (told / "variables").read_text()


def test_a_server_sees_the_gpus_of_its_device_and_no_others(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the driver's own numbers: ours count what CUDA_VISIBLE_DEVICES leaves, in its order."""
    gpus = make_gpus("H100", "H100", "H100", "H100")
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{gpus[3].uuid},1,2")

    def seen(device: str) -> str:
        variables = server_variables(told, Serving(), device, None)
        assert variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        return variables["CUDA_VISIBLE_DEVICES"]

    assert [seen(device) for device in ("cuda", "cuda:0", "cuda:0,1", "cuda:2")] == ["3,1,2", "3", "3,1", "2"]
    assert server_variables(told, Serving(), "cpu", None)["CUDA_VISIBLE_DEVICES"] == f"{gpus[3].uuid},1,2"


@pytest.mark.parametrize(
    ("arguments", "graphs"),
    [({}, 1024), ({"max_num_seqs": 768}, 768), ({"max_cudagraph_capture_size": 8}, 8)],
)
def test_large_batches_of_sequences_have_graphs(
    told: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, int], graphs: int
) -> None:
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus("H100"))
    serving = Serving(arguments=arguments)
    command = server_command(find_environment(), told, "tiny", serving, "cuda", 8000)
    assert f"--max-cudagraph-capture-size={graphs}" in command
    assert f"--max-num-seqs={arguments.get('max_num_seqs', 1024)}" in command


@pytest.mark.parametrize(
    "arguments",
    [
        {"enforce_eager": True},
        {"max_num_seqs": 256},  # vLLM's own graphs are larger
        {"compilation_config": '{"max_cudagraph_capture_size": 8}'},  # it takes one or the other
    ],
)
def test_where_graphs_are_vllms_or_the_familys_affair(
    told: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, bool | int | str]
) -> None:
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus("H100"))
    command = server_command(find_environment(), told, "tiny", Serving(arguments=arguments), "cuda", 8000)
    assert not any(argument.startswith("--max-cudagraph") for argument in command)


@pytest.mark.parametrize(("cores", "fronts"), [(2, 1), (16, 4), (64, 8)])
def test_processes_that_speak_http_follow_the_cores(
    told: Path, monkeypatch: pytest.MonkeyPatch, cores: int, fronts: int
) -> None:
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus("H100"))
    have_cores(monkeypatch, cores)
    command = server_command(find_environment(), told, "tiny", Serving(), "cuda", 8000)
    assert f"--api-server-count={fronts}" in command


def test_a_member_spread_over_more_gpus_than_there_are(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus("H100", "H100"))
    environment = find_environment()
    serving = Serving(tensor_parallel=2, data_parallel=2)
    with pytest.raises(FaqError, match=r"over 4 GPUs, and this run may use 2 \(cuda:0,1\)"):
        Server(environment, told, "tiny", serving, "cuda:0,1", logs=told)
    ray = serving.model_copy(update={"arguments": {"distributed_executor_backend": "ray"}})
    Server(environment, told, "tiny", ray, "cuda:0,1", logs=told)  # the others may be elsewhere


def test_trusts_remote_code_only_where_the_member_does(told: Path) -> None:
    with pytest.raises(FaqError, match="trust"):
        Server(find_environment(), told, "tiny", Serving(arguments={"trust_remote_code": True}), "cpu")
    with make_server(told, trust_remote_code=True) as server:
        server.wait_ready(SOON)
    assert "--trust-remote-code" in (told / "arguments").read_text().splitlines()


def test_is_restarted_after_its_process_was_killed(told: Path) -> None:
    with make_server(told) as server:
        server.wait_ready(SOON)
        url, first = server.base_url, processes(told)
        os.kill(first[0], signal.SIGKILL)
        assert until(lambda: server.restarts_used == 1)
        server.wait_ready(SOON)
        assert server.base_url == url
        assert processes(told)[0] != first[0]
        assert gone(first)


def test_exit_code_0_is_a_death_too(told: Path) -> None:
    with make_server(told) as server:
        server.wait_ready(SOON)
        first = processes(told)
        get(server, "/exit")
        server.wait_ready(SOON)
        assert until(lambda: server.restarts_used == 1)
        server.wait_ready(SOON)
        assert starts(told) == 2
        assert gone(first)


@pytest.mark.parametrize("how", ["hang", "dead"])
def test_is_restarted_when_health_fails_while_the_process_runs(told: Path, how: str) -> None:
    with make_server(told) as server:
        server.wait_ready(SOON)
        (told / how).touch()
        assert until(lambda: server.restarts_used == 1)
        (told / how).unlink()
        server.wait_ready(SOON)
        assert starts(told) == 2


def test_a_stopped_process_counts_as_hung(told: Path) -> None:
    with make_server(told) as server:
        server.wait_ready(SOON)
        os.kill(processes(told)[0], signal.SIGSTOP)
        assert until(lambda: server.restarts_used == 1)
        server.wait_ready(SOON)


def test_is_given_up_when_its_restarts_are_spent(told: Path) -> None:
    with make_server(told, restarts=1) as server:
        server.wait_ready(SOON)
        (told / "fail-again").write_text("ValueError: no room for keys and values")
        get(server, "/exit")
        with pytest.raises(ServerFailedError, match="after 1 restarts: ValueError: no room"):
            server.wait_ready(SOON)
        with pytest.raises(ServerFailedError):
            server.check()
    assert starts(told) == 2


def test_a_start_that_fails_is_not_tried_again_and_shows_the_log(told: Path) -> None:
    (told / "fail").write_text(
        "INFO 11-22 01:02:03 [api.py:1] hello\n"
        "(EngineCore_0 pid=77) ERROR 11-22 01:02:04 [core.py:9] ValueError: heads 3 is odd\n"
        "RuntimeError: Engine core initialization failed. See root cause above."
    )
    with make_server(told) as server, pytest.raises(ServerFailedError) as caught:
        server.wait_ready(SOON)
    assert starts(told) == 1
    assert caught.value.problem.endswith("(exit code 1): ValueError: heads 3 is odd")
    assert "[api.py:1] hello" in str(caught.value)
    assert str(server.log) in str(caught.value)
    assert gone(processes(told))


def test_a_python_that_cannot_start_is_a_clear_error(told: Path) -> None:
    environment = find_environment()
    environment.python.unlink()
    with (
        Server(environment, told, "tiny", Serving(), "cpu", logs=told) as server,
        pytest.raises(ServerFailedError, match="No such file"),
    ):
        server.wait_ready(SOON)


def test_a_port_that_another_took_is_no_failure(told: Path) -> None:
    import socket

    server = make_server(told)
    port = int(server.base_url.split(":")[2].split("/")[0])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with server:
            server.wait_ready(SOON)
            assert f":{port}/" not in server.base_url


def test_a_log_of_its_own_goes_with_a_good_end_and_stays_after_a_bad_one(told: Path) -> None:
    logs = told.parent / "home/logs"
    with make_server(told, logs=None) as server:
        server.wait_ready(SOON)
        assert server.log.is_file()
    assert not list(logs.iterdir())
    with pytest.raises(KeyError), make_server(told, logs=None) as server:
        server.wait_ready(SOON)
        raise KeyError
    assert len(list(logs.iterdir())) == 1


def test_metrics_are_summed_over_engines_and_restarts(told: Path) -> None:
    (told / "metrics").write_text(
        "# TYPE vllm:prefix_cache_queries_total counter\n"
        'vllm:prefix_cache_queries_total{engine="0"} 100.0\n'
        'vllm:prefix_cache_queries_total{engine="1"} 60.0\n'
        "# TYPE vllm:prefix_cache_hits_total counter\n"
        'vllm:prefix_cache_hits_total{engine="0"} 40.0\n'
        "# TYPE vllm:generation_tokens_total counter\n"
        "vllm:generation_tokens_total 7.0\n"
        "# TYPE vllm:other counter\n"
        "vllm:other 7.0\n"
    )
    with make_server(told) as server:
        server.wait_ready(SOON)
        once = server.metrics()
        assert once == ServerMetrics(prefix_cache_queries=160, prefix_cache_hits=40, generation_tokens=7)
        assert once.prefix_cache_hit_rate == 0.25
        get(server, "/exit")
        assert until(lambda: server.restarts_used == 1)
        server.wait_ready(SOON)
        assert server.metrics() == once + once


# Signals as in a shell's foreground: whoever runs the tests may have had some ignored or blocked.
OWNER = """
import signal, sys, time
from pathlib import Path
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
from faq_pipeline.config.family import Serving
from faq_pipeline.inference.client.client import Client
from faq_pipeline.inference.client.server_address import ServerAddress
from faq_pipeline.inference.environment.environment import find_environment
from faq_pipeline.inference.server.server import Server

folder = Path(sys.argv[1])
with Server(find_environment(), folder, "tiny", Serving(), "cpu", logs=folder) as server:
    server.wait_ready(30)
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owner(told: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has a server, in a session of its own."""
    command = [sys.executable, "-c", OWNER, str(told)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def family(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def test_kill_9_of_the_whole_group_leaves_no_orphan(told: Path, owner: subprocess.Popen[str]) -> None:
    pids = {*processes(told), *family(owner.pid)}
    assert len(pids) == 4  # keeper, server, two children
    os.killpg(owner.pid, signal.SIGKILL)
    assert gone(list(pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_killed_owner_leaves_no_orphan(
    told: Path, owner: subprocess.Popen[str], number: signal.Signals
) -> None:
    pids = [*processes(told), *family(owner.pid)]
    os.kill(owner.pid, number)
    assert gone(pids)


def test_a_killed_keeper_takes_the_server_with_it(told: Path) -> None:
    with make_server(told) as server:
        server.wait_ready(SOON)
        first = processes(told)
        os.kill(psutil.Process(first[0]).ppid(), signal.SIGKILL)
        assert gone(first[:2])
        assert until(lambda: server.restarts_used == 1)
        server.wait_ready(SOON)
        psutil.Process(first[2]).kill()  # had left the group: only a keeper finds it
