"""Compacts networks whose code makes removing channels dangerous, and asks what the example does not show.

Run it with ``python -m benchmarks.architectures.hostile_networks``.

Every network of ``benchmarks/architectures/hostile`` is compacted with one example. Dense and compact network are then
asked on other batch sizes, lengths, values and tokens, in eval and in train mode, and call after call. None may answer
differently unless a warning said what was not proven. ``--table`` only fills the page.
"""

from __future__ import annotations

from typing import Any

from benchmarks.architectures.hostile import FAMILIES, hostile_networks, judge
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options
from benchmarks.harness.markdown import markdown
from benchmarks.harness.pages import DOCS, Page

__all__ = ["PAGE", "main"]

RESULT = "hostile_networks"
KINDS = ("cut rightly", "cut rightly, warned", "left", "refused", "wrong, warned", "wrong without a word")


def kind(entry: dict[str, Any]) -> str:
    """Return what became of one network, as one of ``KINDS``."""
    if entry["differs"]:
        return "wrong, warned" if entry["warned"] else "wrong without a word"
    if entry["outcome"] == "cut":
        return "cut rightly, warned" if entry["warned"] else "cut rightly"
    return str(entry["outcome"])


def _entries() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = results.load(RESULT)["networks"]
    return found


def _summary() -> str:
    entries = _entries()
    families = {family: [kind(one) for one in entries if one["family"] == family] for family in FAMILIES}
    families["all"] = [kind(one) for one in entries]
    rows = [[family, len(kinds), *map(kinds.count, KINDS)] for family, kinds in families.items()]
    return markdown(["family", "networks", *KINDS], [[str(cell) for cell in row] for row in rows])


def _networks() -> str:
    lines = (
        f"| {one['family']} | {one['name']} | {kind(one)} | {one['differs'].partition(':')[0]} |" for one in _entries()
    )
    head = ["| family | network | what became of it | first question with another answer |", "|---|---|---|---|"]
    return "\n".join([*head, *lines])


PAGE = Page(DOCS / "hostile.md", {"hostile-summary": _summary, "hostile-networks": _networks})


def main(arguments: list[str] | None = None) -> None:
    """Judge all networks, keep the result and write the tables."""
    parser = options(__doc__)
    parser.add_argument("--table", action="store_true", help="only fill the page from the kept result")
    given = parser.parse_args(arguments)
    if not given.table:
        timing.one_thread()
        found = []
        for hostile in hostile_networks()[:: 10 if given.quick else 1]:
            verdict = judge(hostile)
            entry = {
                "name": hostile.name,
                "family": hostile.family,
                "outcome": verdict.outcome,
                "warned": verdict.warned,
                "differs": verdict.differs,
                "says": verdict.says,
            }
            found.append(entry)
            print(f"{hostile.family}, {hostile.name}: {kind(entry)}", flush=True)
        keep(given, "architectures.hostile_networks", {"networks": found})
        if given.quick or given.name:
            return
    PAGE.fill()


if __name__ == "__main__":
    main()
