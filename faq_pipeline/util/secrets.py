"""Secrets in texts: found where a file or an option is read, and taken out of whatever is printed."""

from __future__ import annotations

import re

MARK = "***"
"""What is printed in the place of a secret."""

# Bounds keep the time linear in the text's length.
_SCHEME = r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*:[/\\]+"
# A password may hold a slash that should have been quoted; a port before a path with "@" is none.
_USER = re.compile(
    rf"({_SCHEME})(?:[^\s/?#@]{{0,255}}@|[^\s/?#@:]{{0,255}}:(?!\d{{1,5}}(?:[/?#]|$))[^\s@]{{0,255}}@)"
)
_PARAMETER = re.compile(
    r"(?P<name>[?&#;][\w.-]*(?:key|token|secret|passw(?:or)?d|pwd|sig(?:nature)?|auth(?:orization)?|credentials?)=)"
    r"[^\s&#;\"']+",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|rk|pk)[-_][A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, Stripe
    r"|hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|gh[oprsu]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"  # GitHub, GitLab
    r"|xox[abeprs]-[\w-]{10,}|AKIA[A-Z0-9]{16}|AIza[\w-]{30,}|nvapi-[\w-]{16,}"  # Slack, AWS, Google, NVIDIA
    r"|(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"  # JSON web tokens
    r")"
)
_NAME = re.compile(r"(?:^|[-_.])(?:api[-_]?key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
_BEARER = re.compile(r"(\bBearer\s+)(?=[A-Za-z_.~+/-]*\d)[\w.~+/-]{12,}=*", re.IGNORECASE)
_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL)


def secret_in(text: str) -> str | None:
    """What a text seems to hold that must stay secret, in words; None if nothing."""
    if _USER.search(text):
        return "a URL with a user or password in it"
    if _PARAMETER.search(text):
        return "a URL with a key or token in it"
    if _KEY.search(text) or _BEARER.search(text) or _PRIVATE.search(text):
        return "a key or token"
    return None


def is_secret_name(name: str) -> bool:
    """Whether an option of this name holds a secret: `hf-token`, `api_key`, `ssl-keyfile-password`."""
    return _NAME.search(name) is not None


def redacted(text: str) -> str:
    """The text with `***` in the place of every secret that `secret_in` would find."""
    text = _USER.sub(rf"\1{MARK}@", text)
    text = _PARAMETER.sub(rf"\g<name>{MARK}", text)
    text = _BEARER.sub(rf"\1{MARK}", text)
    return _PRIVATE.sub(MARK, _KEY.sub(MARK, text))
