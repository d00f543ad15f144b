"""Templates of pages: one style sheet for all, and rules that let a browser load nothing and run known scripts only."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["render"]


def render(package: str, template: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """Return a page as HTML; every value is escaped unless the template says otherwise.

    The template finds the style sheet in ``style``, and the rules for browsers in ``policy``: scripts of the page run
    by their checksum alone, pictures are part of the page, and nothing is loaded.

    Args:
        package: the package whose folder ``templates`` has the template and its scripts.
        template: its file name.
        filters: functions that the template may use.
        values: what it shows; the value of ``script`` is the file name of its script, and becomes the script's text.
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if "script" in values:
        values["script"] = _text(package, values["script"])
        checksum = base64.b64encode(hashlib.sha256(values["script"].encode("utf-8")).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{checksum}'"
    return environment.get_template(template).render(style=_text(__package__, "page.css"), policy=policy, **values)


def _text(package: str, file: str) -> str:
    return (resources.files(package) / "templates" / file).read_text(encoding="utf-8")
