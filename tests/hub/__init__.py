"""A model hub on 127.0.0.1 that speaks as much of the hub's API as `huggingface_hub` needs here.

Its repositories and its faults are files, so a hub that runs as a process is changed from outside:

    folder = HubFolder(path)                       # in any process
    folder.add("acme/kin-16m", checkpoint)         # a commit of a local model folder
    with HubServer(folder) as hub: hub.url         # in this process, or
    python -m tests.hub --folder PATH --port 8000  # as a process
"""

from tests.hub.folder import Faults, HubFolder
from tests.hub.server import HubServer

__all__ = ["Faults", "HubFolder", "HubServer"]
