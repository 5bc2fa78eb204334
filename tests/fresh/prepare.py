"""Puts a small Llama and chat messages into a folder, as somebody who tries the package has them.

python -m tests.fresh.prepare FOLDER HUB    makes FOLDER/my-llama, FOLDER/chat.jsonl, and a stub hub's files
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.hub import HubFolder
from tests.tiny import make_llama

QUESTIONS = Path(__file__).parents[2] / "data/seeds/kin-mixed.jsonl"
COUNT = 128


def prepare(folder: Path, served: Path) -> None:
    """A Llama of random weights; so many of our questions as chat messages; and a hub that has both."""
    model = make_llama(folder / "my-llama", hidden=256, layers=4)
    chats = folder / "chat.jsonl"
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()[:COUNT]]
    messages = [{"messages": [{"role": "user", "content": row["text"]}]} for row in rows]
    chats.write_text("".join(json.dumps(row) + "\n" for row in messages), encoding="utf-8")
    hub = HubFolder(served)
    hub.add("acme/llama-2M", model, licence="mit")
    data = served / "chats"
    data.mkdir()
    (data / "train.jsonl").write_bytes(chats.read_bytes())
    hub.datasets.add("acme/chats", data, licence="apache-2.0")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
