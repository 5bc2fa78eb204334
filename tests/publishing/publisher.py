"""A process that publishes: `python -m tests.publishing.publisher ROOT REPOSITORY [MOMENT]`.

It publishes each checkpoint whose name comes as a line on stdin, and answers with a line of JSON: what came
of it, and how many times it has touched a file below ROOT. At touch number MOMENT it dies by SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.publishing.conftest import Site

TOUCHES = {"open", "os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir", "shutil.copyfile"}


def main(root: Path, repository: str | None, moment: int) -> None:
    touched = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal touched
        if event in TOUCHES and str(arguments[0]).startswith(str(root)):
            touched += 1
            if touched == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    site = Site(root)
    print("ready", flush=True)
    for line in sys.stdin:
        content = site.content(line.strip())
        touched = 0
        done = site.publish(content, repository=repository)
        print(json.dumps([done.as_dict(), touched]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] or None, int(sys.argv[3]) if len(sys.argv) > 3 else -1)
