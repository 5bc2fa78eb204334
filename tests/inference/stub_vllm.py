"""A folder that looks to a Python like an installed vLLM: its server is a small HTTP server.

What the server does is told by files in the folder that `STUB` names, which may come and go:
`fail` (ends with that text before it serves), `fail-again` (so does every later start), `dead`
(/health says 503), `hang` (/health never answers). GET /exit ends it with code 0. It starts two
children, the second in a session of its own, and writes down all three ids, one line a start. As vLLM
does, it answers below /v1 only with the key that VLLM_API_KEY holds.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

SERVER = """
import http.server, os, subprocess, sys, threading, time
from pathlib import Path

told, key = Path(os.environ["STUB"]), os.environ["VLLM_API_KEY"]
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
pids = [os.getpid(), *(subprocess.Popen(sleep, start_new_session=own).pid for own in (False, True))]
again = (told / "pids").exists()
with (told / "pids").open("a") as file:
    file.write(" ".join(map(str, pids)) + "\\n")
(told / "arguments").write_text("\\n".join(sys.argv[1:]))
(told / "variables").write_text("\\n".join(f"{k}={v}" for k, v in os.environ.items()))
for name in ["fail", *(["fail-again"] if again else [])]:
    if (told / name).exists():
        sys.stderr.write((told / name).read_text() + "\\n")
        os._exit(1)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/exit":
            os._exit(0)
        while (told / "hang").exists():
            time.sleep(0.1)
        body = b""
        if self.path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {key}":
            return self.send_error(401)
        if self.path == "/v1/models":
            body = b'{"data": [{"id": "tiny"}]}'
        if self.path == "/metrics":
            body = (told / "metrics").read_bytes()
        self.send_response(503 if (told / "dead").exists() else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


port = next(int(argument[7:]) for argument in sys.argv if argument.startswith("--port="))
print("serving on", port, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def make_stub(folder: Path, *, version: str = "9.9.9", distribution: str = "vllm") -> Path:
    """A script for `FAQ_VLLM`: this Python, with the stub as its vLLM."""
    package = folder / "site/vllm/entrypoints/openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(SERVER, encoding="utf-8")
    for name, its in ((distribution, version), ("torch", "2.0.0+stub")):
        info = folder / f"site/{name}-{its}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {its}\n")
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "site"} exec {sys.executable} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script
