"""A chat template that a family file gives a member: for a model whose folder has none."""

from __future__ import annotations

from pathlib import Path

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.models.remembered import remembered
from faq_pipeline.store.fingerprint import LENGTH, hash_file
from faq_pipeline.util.files import ABSENT


def template_text(path: Path) -> str:
    """The text of a template's file.

    Raises:
        FaqError: it is not there, no text, or cannot be read.
    """
    try:
        with reading_file(path):
            return path.read_text(encoding="utf-8")
    except ABSENT:
        raise FaqError(
            "no such chat template", hint="a Jinja file: correct chat_template", file=path
        ) from None
    except UnicodeDecodeError:
        raise FaqError("this chat template is not UTF-8 text", file=path) from None


def template_mark(member: Member, cache: Path) -> str:
    """What such a template adds to the identity of the member's tokenizer; empty where it has none.

    Args:
        cache: as of `remembered`.

    Raises:
        FaqError: as `template_text`.
    """
    path = member.chat_template
    if path is None:
        return ""
    template_text(path)
    return f"+{remembered(path, cache, hash_file)[:LENGTH]}"


def write_template(member: Member, folder: Path) -> None:
    """Put such a template into a folder with the member's tokenizer.

    Raises:
        FaqError: as `template_text`.
    """
    if member.chat_template is not None:
        text = template_text(member.chat_template)
        (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
