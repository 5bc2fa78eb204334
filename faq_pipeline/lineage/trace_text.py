"""Renders a trace for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.console import Group as Lines
from rich.markup import escape
from rich.tree import Tree

from faq_pipeline.lineage.trace import LineageTrace
from faq_pipeline.lineage.trace_blocks import artifact_block, checkpoint_block, group_block, sample_block

LINES = 60
"""Lines of a trace, unless all of it is asked for."""
FEW = 3
"""Cells, parents and children of an artifact that are named, unless all are asked for."""
MORE = "--all prints the rest, --json every figure"


def render(trace: LineageTrace, lines: int | None = None) -> RenderableType:
    """The trace as trees: checkpoints with licences and evaluations first, then how samples were made.

    Args:
        lines: of the whole, about; None prints everything.
    """
    return Lines(*_parts(trace, None)) if lines is None else _Shortened(trace, lines)


@dataclass(frozen=True)
class _Section:
    """Blocks of one kind, below a heading or none."""

    kind: str
    blocks: list[RenderableType]
    heading: str | None = None

    def __rich__(self) -> RenderableType:
        return self.shown()

    def shown(self, count: int | None = None) -> RenderableType:
        """The first `count` blocks, and how many are left out."""
        blocks = self.blocks[:count]
        if left := len(self.blocks) - len(blocks):
            blocks.append(f"and {left} more {self.kind}{'s' * (left > 1)}")
        if self.heading is None:
            return Lines(*blocks)
        tree = Tree(self.heading)
        for block in blocks:
            tree.add(block)
        return tree


@dataclass(frozen=True)
class _Shortened:
    """A trace within some lines: every section has its first block, and as many more as its share holds."""

    trace: LineageTrace
    lines: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def height(block: RenderableType) -> int:
            return len(console.render_lines(block, options, pad=False))

        heading, *sections = _parts(self.trace, FEW)
        yield heading
        left, cut = self.lines - height(heading) - 1, False
        # A block has a line at least: more blocks than lines need not be measured.
        needs = [height(one.shown(self.lines) if isinstance(one, _Section) else one) for one in sections]
        shares = dict(_shares(needs, left))
        for index, section in enumerate(sections):
            if not isinstance(section, _Section):
                yield section
                continue
            count = min(len(section.blocks), self.lines)
            while count > 1 and (lines := height(section.shown(count))) > shares[index]:
                count = min(count - 1, count * shares[index] // lines + 1)
            cut = cut or count < len(section.blocks)
            yield section.shown(count)
        if cut or _hidden(self.trace):
            yield MORE


def _shares(needs: list[int], left: int) -> Iterator[tuple[int, int]]:
    """Of each section, which of the `left` lines it may take: what small ones leave goes to large ones."""
    for place, index in enumerate(sorted(range(len(needs)), key=lambda index: needs[index])):
        share = min(needs[index], left // (len(needs) - place))
        left -= share
        yield index, share


def _hidden(trace: LineageTrace) -> bool:
    """Whether single blocks leave something out."""
    artifact = trace.artifact
    lists = [] if artifact is None else [artifact.cells, artifact.parents, artifact.children]
    lists += [one.cells for one in trace.checkpoints]
    return any(len(one) > FEW for one in lists) or any(one.reports for one in trace.checkpoints)


def _parts(trace: LineageTrace, few: int | None) -> Iterator[Any]:
    """What is printed, in order: the heading, then sections.

    Args:
        few: cells, parents and children that are named, and evaluations in a line; all if None.
    """
    if trace.artifact is None:
        yield f"[bold]{trace.kind} {escape(trace.id)}[/]"
    else:
        yield artifact_block(trace.artifact, few)
    if trace.checkpoints:
        known = () if trace.artifact is None else trace.artifact.cells
        yield _Section("checkpoint", [checkpoint_block(one, few, known) for one in trace.checkpoints])
    elif trace.artifact is None and not trace.samples:
        yield "no calibration sample was made from it"
    if trace.groups:
        yield _Section("group", [group_block(group) for group in trace.groups])
    if trace.samples:
        count = len(trace.samples)
        yield _Section(
            "sample",
            [sample_block(one, group=not trace.groups) for one in trace.samples],
            f"[bold]{count} calibration sample{'s' * (count != 1)}[/]",
        )
