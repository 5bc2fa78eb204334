"""Many step processes digest the same weights at once; none may see another's half-written digest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from pathlib import Path
from faq_pipeline.config.family import Member
from faq_pipeline.models import weights

folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
seen = set()
for number in range(150):
    seen.add(weights.find_weights(Member(name="m", path=folder, parameters=1), cache / str(number)).digest)
print(*seen)
"""


def test_processes_digest_at_once(tiny_data: Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(tiny_data / "models/tiny-s"), str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1 and len(said[0][0].split()) == 1
    assert not [path for path in tmp_path.glob("*/*") if path.suffix]
