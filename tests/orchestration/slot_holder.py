"""A run that takes the only slot of pool `gpu` in a process of its own, and keeps it.

`python -m tests.orchestration.slot_holder FILE` makes the file once it has the slot; it has the id of
the run, and the mark of the process.
"""

import sys
import time
from pathlib import Path

import dagster as dg

from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.settings import Settings
from faq_pipeline.util.processes import own_mark


@dg.op(pool="gpu")
def hold(context: dg.OpExecutionContext) -> None:
    """A stage without end."""
    told = Path(sys.argv[1])
    told.with_suffix(".part").write_text(f"{context.run_id} {own_mark()}")
    told.with_suffix(".part").rename(told)
    time.sleep(3600)


@dg.job(executor_def=dg.in_process_executor)
def holding() -> None:
    """Takes the slot."""
    hold()


if __name__ == "__main__":
    with open_instance(Settings.from_environment()) as instance:
        holding.execute_in_process(instance=instance)
