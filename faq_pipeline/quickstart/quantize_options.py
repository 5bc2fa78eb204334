"""The options of `faq quantize`, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faq_pipeline.config.files import overlay
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.yaml import look
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.methods import find_method, needs_calibration
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quickstart.recipe_tree import MOST_SEEDS
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.util.file_size import parse_size

SCHEME = "W4A16"
"""Where the user names none."""
SERVED_WIDTHS = (4, 8)
"""Bits of layers where a size is given: docs/SCHEMES.md has what vLLM was seen to read."""
PLAIN = REPOSITORY / "data/templates/plain.jinja"
"""A chat template for models that have none: turns begin with `User:` and `Assistant:`."""


@dataclass(frozen=True)
class QuantizeOptions:
    """The options of `faq quantize`, as the user gives them."""

    model: str
    seeds: str | None = None
    teacher: str | None = None
    scheme: str = SCHEME
    method: str | None = None
    chat_template: str | None = None
    tasks: Sequence[str] = ()
    baselines: bool = True
    judged: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the recipe to set, as a tree."""

    def __post_init__(self) -> None:
        """Refuse what names, titles and settings would not follow.

        Raises:
            FaqError: the changes name a scheme or a method.
        """
        for key in ("scheme", "method"):
            if key in self.changed("quantization"):
                raise FaqError(f"quantization.{key} is not set this way", hint=f"use --{key}")

    @property
    def method_name(self) -> str:
        """The method that the user names, or the usual one."""
        return self.method or usual_method(self.scheme)

    @property
    def size(self) -> str | None:
        """What the checkpoint's files may take at most, where a bit plan is to fit them in."""
        return self.changed("quantization", "plan").get("size")

    def check_size(self) -> None:
        """Refuse a scheme or method by which layers cannot have bits of their own, where there is a size.

        Raises:
            FaqError: see above.
        """
        if self.size is None:
            return
        bits, scheme = self.changed("quantization", "plan").get("bits"), SCHEMES.find(self.scheme)
        if scheme.float_weights:
            raise FaqError(
                f"--size: the bits of {scheme.name} are fixed by its format",
                hint="leave --size out, or use a scheme with integer weights, such as W4A16",
            )
        if isinstance(bits, list) and scheme.weight_bits not in bits:
            raise FaqError(
                f"--scheme {scheme.name}: with --size layers have {' or '.join(map(str, bits))} bits",
                hint=f"leave --scheme out, or add --set 'quantization.plan.bits=[{scheme.weight_bits}, ...]'",
            )
        if "plan" not in find_method(self.method_name).variants:
            raise FaqError(
                f"--size: method {self.method_name!r} gives all layers the same bits",
                hint="leave --size or --method out",
            )

    @property
    def label(self) -> str:
        """What tells the checkpoint from others of the model by this method: the scheme, the size or both."""
        if self.size is None:
            return SCHEMES.find(self.scheme).name
        size = "".join(str(self.size).split())
        return size if self.scheme == SCHEME else f"{SCHEMES.find(self.scheme).name}-{size}"

    @property
    def template(self) -> Path | None:
        """The file of the chat template that the user names; `plain` is ours."""
        if self.chat_template is None:
            return None
        return PLAIN if self.chat_template == PLAIN.stem else Path(self.chat_template).expanduser().resolve()

    @property
    def most_seeds(self) -> int:
        """How many seeds are drawn; a value that is no number is refused with the recipe."""
        count = self.changed("seeds").get("count")
        return count if isinstance(count, int) and count > 0 else MOST_SEEDS

    @property
    def is_calibrated(self) -> bool:
        """Whether anything of the recipe looks at calibration data."""
        changed = self.changed("quantization")
        spec = Quantization.model_construct(
            method=self.method_name,
            scheme=SCHEMES.find(self.scheme).name,
            observer=changed.get("observer", "minmax"),
            kv_cache=changed.get("kv_cache"),
        )
        return needs_calibration(spec)

    def changed(self, *path: str) -> Mapping[str, Any]:
        """A section of what the user sets; empty where nothing of it is."""
        node: Any = self.changes
        for key in path:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node if isinstance(node, Mapping) else {}

    def find_tasks(self) -> tuple[list[str], Path | None]:
        """Names of lm-eval's tasks; or of task YAMLs, with the folder that holds them.

        Raises:
            FaqError: YAMLs of several folders, or beside lm-eval's own tasks.
        """
        files = [Path(task).expanduser() for task in self.tasks if task.endswith((".yaml", ".yml"))]
        if not files:
            return list(self.tasks), None
        folders = {file.resolve().parent for file in files}
        if len(files) < len(self.tasks) or len(folders) > 1:
            raise FaqError(
                "--tasks: task files lie in one folder, and go with no other tasks", hint="copy them together"
            )
        return [str(look(file).get("task", file.stem)) for file in files], folders.pop()


def with_size(changes: Mapping[str, Any], size: str) -> dict[str, Any]:
    """Changes of a recipe with a bit plan of that size, of the widths that vLLM was seen to read.

    Raises:
        FaqError: it is no size.
    """
    try:
        parse_size(size)
    except ValueError as error:
        raise FaqError(f"--size: {error}", hint="write it as --size 5GB") from None
    made = overlay({"quantization": {"plan": {"size": size, "bits": list(SERVED_WIDTHS)}}}, changes)
    section = made["quantization"]
    plan = section.get("plan") if isinstance(section, Mapping) else None
    if not isinstance(plan, Mapping) or plan.get("size") != size:
        raise FaqError("--size and --set quantization.plan contradict each other", hint="leave one out")
    return made


def usual_method(scheme: str) -> str:
    """GPTQ; round-to-nearest for floats of 8 bits, which lose next to nothing by it."""
    found = SCHEMES.find(scheme)
    return "rtn" if found.float_weights and found.weight_bits >= 8 else "gptq"
