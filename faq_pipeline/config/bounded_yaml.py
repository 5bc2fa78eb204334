"""Parses YAML within bounds: of size, depth, numbers and aliases. Secrets and odd characters are refused.

A file that is wrong in any way raises `BadYamlError`, never anything else. Its message repeats nothing of
the file but the names of keys: a value may be a secret.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError

from faq_pipeline.util.secrets import secret_in

MOST_BYTES = 2**20
"""Size of a file."""
MOST_DEPTH = 40
"""Mappings and lists within each other, aliases expanded."""
MOST_NODES = 100_000
"""Keys and values, aliases expanded."""
LONGEST_NUMBER = 64
"""Characters of a number."""
SECRET_HINT = "keys, tokens and passwords stay in the environment"
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_QUOTED = re.compile(r"(['\"])(?!<[a-z ]+>\1)(?:(?!\1).){3,}\1")


class BadYamlError(Exception):
    """What is wrong with a text, and its 1-based line where it is known."""

    def __init__(self, problem: str, line: int | None, hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.line, self.hint = problem, line, hint


class _SecretError(ComposerError):
    """A value must stay secret."""


class _Composer(Composer):
    """Composes nodes, and counts them as if each alias was written out."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False
        self._open: list[tuple[int, int]] = []  # nodes and height of each node that is not complete
        self._extents: dict[int, tuple[int, int]] = {}  # of complete ones

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if len(self._open) > MOST_DEPTH:
            raise ComposerError(None, None, f"nested more than {MOST_DEPTH} deep", event.start_mark)
        self._open.append((1, 0))
        node = super().compose_node(parent, index)
        own = self._open.pop()
        if isinstance(event, AliasEvent):
            if id(node) not in self._extents:
                raise ComposerError(None, None, "an alias inside of what it stands for", event.start_mark)
            own = self._extents[id(node)]
        self._extents[id(node)] = own
        if self._open:
            nodes, height = self._open[-1]
            self._open[-1] = nodes + own[0], max(height, own[1] + 1)
        if len(self._open) + own[1] > MOST_DEPTH:
            raise ComposerError(None, None, f"nested more than {MOST_DEPTH} deep", event.start_mark)
        if own[0] > MOST_NODES:
            raise ComposerError(None, None, f"more than {MOST_NODES:,} values", event.start_mark)
        return node

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        event = self.parser.peek_event()
        node: ScalarNode = super().compose_scalar_node(anchor)
        if _CONTROL.search(node.value):
            raise ComposerError(None, None, "a control character or half a character", event.start_mark)
        if len(node.value) > LONGEST_NUMBER and str(node.tag).endswith((":int", ":float")):
            problem = f"a number of more than {LONGEST_NUMBER} digits"
            raise ComposerError(None, None, problem, event.start_mark)
        if what := secret_in(node.value):
            raise _SecretError(None, None, what, event.start_mark)
        return node


class _Constructor(RoundTripConstructor):
    def construct_non_recursive_object(self, node: Any, tag: Any = None) -> Any:
        try:
            return super().construct_non_recursive_object(node, tag)
        except YAMLError:
            raise
        except Exception:  # a date that is none, a number by a tag: ValueError, TypeError and others
            problem = "a value that is not what its form or tag says"
            raise ConstructorError(None, None, problem, node.start_mark) from None


@lru_cache(maxsize=1024)
def parse(text: str) -> Any:
    """The tree of a YAML text. Remembered: a run asks for the same files in each of its stages.

    Raises:
        BadYamlError: it is not YAML, exceeds a bound, or holds a secret.
    """
    yaml = YAML(typ="rt", pure=True)
    yaml.Composer, yaml.Constructor = _Composer, _Constructor
    try:
        return yaml.load(text)
    except _SecretError as error:
        raise BadYamlError(f"holds {error.problem}", _line(error), SECRET_HINT) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadYamlError("not valid YAML: a character that YAML does not allow", line) from None
    except YAMLError as error:
        raise BadYamlError(f"not valid YAML: {_problem(error)}", _line(error)) from None
    except Exception:  # the parser's own faults on odd input are the file's problem, too
        raise BadYamlError("not valid YAML", _line_reached(yaml)) from None


def _problem(error: YAMLError) -> str:
    problem = " ".join(str(getattr(error, "problem", None) or "it cannot be read").split())
    if found := re.match(r'found duplicate key "([\w.-]{1,40})"', problem):
        return f"key {found[1]!r} is written twice"
    return _QUOTED.sub("...", problem)


def _line(error: YAMLError) -> int | None:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    return None if mark is None else mark.line + 1


def _line_reached(yaml: YAML) -> int:
    return int(getattr(yaml.reader, "line", 0)) + 1
