"""A vLLM server managed by this process: started, watched, restarted within limits, and stopped with it.

`health_watch` defines when a server is alive. A server that failed before it ever served is not
restarted: it would fail again.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from faq_pipeline.config.family import Serving
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.environment.environment import Environment
from faq_pipeline.inference.server.command import KEY_VARIABLE, server_command, server_variables
from faq_pipeline.inference.server.health_watch import BEAT, Term, is_healthy, watch
from faq_pipeline.inference.server.metrics import ServerMetrics, parse_metrics
from faq_pipeline.inference.server.ports import HOST, ask_server, free_port, is_free
from faq_pipeline.inference.server.server_error import ServerFailedError, telling_line
from faq_pipeline.inference.server.supervised_process import SupervisedProcess
from faq_pipeline.settings import Settings

STEADY = 900.0
"""A server that has served for so many seconds has all its restarts again."""


class Server:
    """One vLLM server of the model in `folder`, between `__enter__` (which does not wait) and `__exit__`.

    It answers requests with `key` alone, which is made anew for every server and never printed.

    Args:
        served_name: what requests call the model.
        logs: folder for the server's output. A new one under `<FAQ_HOME>/logs` where absent, which
            goes with a server that ended well.
        restarts: how many times in a row it is started again after it has died or hung.
        threads: CPU threads of a rank.
        patience: seconds without an answer of `/health` after which a server counts as hung.
        start_timeout: seconds that it may take to load the model.
    """

    def __init__(
        self,
        environment: Environment,
        folder: Path,
        served_name: str,
        serving: Serving,
        device: str,
        *,
        logs: Path | None = None,
        restarts: int = 3,
        trust_remote_code: bool = False,
        threads: int | None = None,
        patience: float = 60.0,
        start_timeout: float = 3600.0,
    ) -> None:
        self.name = served_name
        self.restarts_used = 0
        self._what = (environment, folder, served_name, serving, device)
        self._trust = trust_remote_code
        # In the environment: other users can read a command line, and vLLM logs its arguments.
        self.key = f"sk-faq-{secrets.token_urlsafe(32)}"
        self._variables = server_variables(folder, serving, device, threads) | {KEY_VARIABLE: self.key}
        self._bound, self._patience, self._start_timeout = restarts, patience, start_timeout
        self._port = free_port()
        self._forget_log = logs is None
        self.log = (logs or _log_folder(f"vllm-{served_name}-{os.getpid()}-{self._port}")) / "vllm.log"
        self._state: Literal["starting", "ready", "failed", "ended"] = "ended"
        self._failure: FaqError | None = None
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._before = self._last = ServerMetrics()
        self._watcher = threading.Thread(target=self._watch, name="server-watcher", daemon=True)
        self._command(self._port)  # bad arguments are told here, and not in the thread

    @property
    def base_url(self) -> str:
        """Where clients find it; it stays the same over restarts unless another took the port."""
        return f"http://{HOST}:{self._port}/v1"

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._set("starting")
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._watcher.join()
        if self._forget_log and kind is None and self._failure is None:
            shutil.rmtree(self.log.parent, ignore_errors=True)

    def wait_ready(self, timeout: float | None = None) -> None:
        """Block until it answers; also while it is being started again, which takes no longer than it may.

        Raises:
            ServerFailedError: it was given up, or `timeout` seconds have passed.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self.check()
            if self._state == "ready" and is_healthy(self._port, self._patience):
                return
            if time.monotonic() > deadline:
                raise ServerFailedError("vLLM's server does not answer in time", log=self.log)
            with self._changed:
                self._changed.wait(BEAT)

    def check(self) -> None:
        """Raises ServerFailedError if the server was given up."""
        if self._failure is not None:
            raise self._failure
        if self._state == "ended":
            raise RuntimeError("the server runs only inside its 'with' block")

    def metrics(self) -> ServerMetrics:
        """What it counted since `__enter__`, as far as it was asked before a restart."""
        status, body = ask_server(self._port, "/metrics")
        if status == 200:
            with suppress(ValueError):  # not in Prometheus' format
                self._last = parse_metrics(body.decode())
        return self._before + self._last

    def _watch(self) -> None:
        """The watcher's life."""
        try:
            self._keep_up()
        except FaqError as error:
            self._failure = error
        except Exception as error:
            self._failure = ServerFailedError(f"vLLM's server could not be kept: {error!r}", log=self.log)
        self._set("ended" if self._failure is None else "failed")

    def _keep_up(self) -> None:
        """Start the server, and again each time it has failed, as long as it may."""
        spent = 0
        while True:
            process, term = self._serve()
            if self._ending.is_set():
                return
            self._before, self._last = self._before + self._last, ServerMetrics()
            spent = 0 if term.served > STEADY else spent
            taken = not term.served and _address_taken(process)
            first = not self.restarts_used and not term.served
            if spent >= self._bound or (first and not taken):
                raise self._given_up(term.why, process)
            spent += 1
            self.restarts_used += 1
            if taken or not is_free(self._port):
                self._port = free_port()
            self._ending.wait(min(2.0 ** (spent - 1), 30.0))

    def _serve(self) -> tuple[SupervisedProcess, Term]:
        """One start of the server, to its end."""
        process = SupervisedProcess(self._command(self._port), self._variables, self.log.parent, self.log)
        try:
            term = watch(
                process,
                self._port,
                self._ending,
                lambda: self._set("ready"),
                patience=self._patience,
                start_timeout=self._start_timeout,
            )
        finally:
            self._set("starting")
            process.stop()
        return process, term

    def _given_up(self, why: str, process: SupervisedProcess) -> ServerFailedError:
        lines = process.output(200)
        said = telling_line(lines)
        tried = f", after {self.restarts_used} restarts" if self.restarts_used else ""
        problem = f"vLLM's server {why}{tried}" + (f": {said}" if said else "")
        return ServerFailedError(problem, log=self.log, lines=lines[-15:])

    def _command(self, port: int) -> list[str]:
        return server_command(*self._what, port, trust_remote_code=self._trust)

    def _set(self, state: Literal["starting", "ready", "failed", "ended"]) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()


def _log_folder(name: str) -> Path:
    return Settings.from_environment().home / "logs" / name


def _address_taken(process: SupervisedProcess) -> bool:
    return any("address already in use" in line.lower() for line in process.output(50))
