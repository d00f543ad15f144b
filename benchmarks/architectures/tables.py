"""Makes the tables of the page on architectures from ``benchmarks/results/architectures.json`` alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown
from benchmarks.harness.pages import DOCS, Page, where_measured

__all__ = ["PAGE", "general"]

PEER = "Torch-Pruning"
SOURCES = ("torchvision", "timm", "transformers", "own")


def general(reason: str) -> str:
    """Return a reason without names of layers and numbers of operations, so that equal reasons count as one."""
    first = reason.split("; ")[0].split(": ")[0] if "given up" in reason else reason.split("; ")[0]
    first = re.sub(r"\b(\w+?)_\d+\b", r"\1", first)
    first = re.sub(r"(its reader) \S+", r"\1", first)
    first = re.sub(r"^\d+ (rows could)", r"\1", first)
    first = re.sub(r"it is called \d+ times", "it is called several times", first)
    return re.sub(r"a parameter is shared: .*", "a parameter is shared", first)


def summary(data: Mapping[str, Any]) -> str:
    """Count the networks of each verdict."""
    networks = data["networks"]
    verdicts = {
        "torch-growl, compact": Counter(n["ours"]["verdict"] for n in networks.values()),
        f"{PEER}, agreed channels": Counter(n[PEER]["verdict"] for n in networks.values()),
        f"{PEER}, own channels": Counter(n[PEER].get("own", n[PEER]["verdict"]) for n in networks.values()),
    }
    names = ("correct", "wrong", "failed", "refused", "did not finish", "not tried")
    shown = [name for name in names if any(found[name] for found in verdicts.values())]
    rows = [[who, *(str(found[name]) for name in shown)] for who, found in verdicts.items()]
    return markdown([f"of {len(networks)} networks", *shown], rows)


def networks_of(source: str) -> Callable[[Mapping[str, Any]], str]:
    """Return the maker of the table of one package."""

    def table(data: Mapping[str, Any]) -> str:
        rows = [_row(name, n) for name, n in data["networks"].items() if n["source"] == source]
        head = ["network", "full", "local", "none", "weights", "MACs", "difference", "s", "why no more", PEER]
        return markdown(head, rows)

    return table


def _row(name: str, network: Mapping[str, Any]) -> list[str]:
    own = network["ours"]
    beside = _beside(network[PEER])
    if "forms" not in own:
        return [name, *["–"] * 7, f"**{own['verdict']}**: {_cell(own['error'])}", beside]
    off = f"{own['difference']:.0e}"
    return [
        name,
        *(str(own["forms"][form]) for form in ("full", "local", "none")),
        *(f"{_short(own[what]['dense'])} → {_percent(own[what])}" for what in ("weights", "macs")),
        off if own["verdict"] == "correct" else f"**{off}**",
        f"{own['seconds']:.1f}",
        "; ".join(f"{_cell(reason)} ({count})" for reason, count in list(own["reasons"].items())[:3]) or "–",
        beside,
    ]


def _beside(found: Mapping[str, Any]) -> str:
    agreed, own = found["verdict"], found.get("own", found["verdict"])
    error = found.get("error") or next(
        (t["error"] for t in found.get("tried", ()) if t["verdict"] == agreed and "error" in t), ""
    )
    verdict = agreed if agreed == own else f"{agreed} / {own}"
    return f"{verdict}: {_cell(error)[:90]}" if error and verdict != "did not finish" else verdict


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _percent(pair: Mapping[str, int]) -> str:
    return f"{100 * pair['compact'] / pair['dense']:.0f} %"


def _short(count: int) -> str:
    return f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count / 1e3:.3g} k"


def _of_kept(table: Callable[[Mapping[str, Any]], str]) -> Callable[[], str]:
    return lambda: table(results.load("architectures"))


PAGE = Page(
    DOCS / "architectures.md",
    {
        "where": _of_kept(where_measured),
        "summary": _of_kept(summary),
        **{source: _of_kept(networks_of(source)) for source in SOURCES},
    },
)
