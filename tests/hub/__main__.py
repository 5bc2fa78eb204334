"""The stub hub as a process: `python -m tests.hub --folder PATH [--port N]` prints its URL and serves."""

import argparse
from pathlib import Path

from tests.hub.folder import HubFolder
from tests.hub.server import HubServer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--folder", type=Path, required=True, help="Repositories and faults; see HubFolder.")
parser.add_argument("--port", type=int, default=0, help="A free one by default.")
options = parser.parse_args()
server = HubServer(HubFolder(options.folder), options.port)
print(server.url, flush=True)
server.serve()
