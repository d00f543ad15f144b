"""Docstrings as the documentation shows them: the example section by its long name, roles as links."""

from __future__ import annotations

import re
from typing import Any

import griffe

import torch_growl as tg

__all__ = ["PublicDocstrings", "as_markdown"]


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown of the API pages.

    ``:func:`name``` becomes a link where the name is public, code otherwise; ``docs/page.md`` becomes a link.
    """
    text = re.sub(r"^(\s*)Example:$", r"\1Examples:", text, flags=re.MULTILINE)
    text = re.sub(r"``docs/([\w-]+)\.md``|(?<![\w/`])docs/([\w-]+)\.md", r"[docs/\1\2.md](../\1\2.md)", text)
    return re.sub(r":(?:func|class|mod|meth|attr|exc):`~?([^`]+)`", _link, text)


def _link(role: re.Match[str]) -> str:
    name = role[1].rpartition(".")[2]
    owner = role[1].split(".")[0]
    if name in tg.__all__:
        return f"[`{name}`][torch_growl.{name}]"
    if owner in tg.__all__:
        return f"[`{role[1]}`][torch_growl.{owner}]"
    return f"`{role[1]}`"


class PublicDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
