"""Writes the kept trainings with a target into the page on targets.

Run it with ``python -m benchmarks.learning.pages.target_tables``.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown, spread
from benchmarks.harness.pages import DOCS, Page, where_measured
from benchmarks.learning.experiments.latency_target import middle

__all__ = ["PAGE", "main"]

_NAMES = ("landing", "earlier", "budgets", "budgets-slowly", "beside")
_OF = {"weights": "weights", "bytes": "bytes", "macs": "MACs"}


def landing() -> str:
    """Return what is left of what was asked for, in each training from scratch."""
    found = results.load("targets-landing")["trainings"]
    rows = []
    for (network, optimizer, share), group in groupby(
        sorted(found, key=lambda one: (list(_networks(found)).index(one["network"]), one["optimizer"], -one["share"])),
        key=lambda one: (one["network"], one["optimizer"], one["share"]),
    ):
        of = {one["of"]: one for one in group}
        cells = [f"{of[name]['compact'] / of[name]['asked']:.1%}" for name in _OF]
        tests = [f"{100 * of[name]['accuracy']:.1f}" for name in _OF]
        rows.append([f"{network}, {optimizer}, {_fraction(share)}", *cells, *tests])
    return markdown(["", *_OF.values(), *(f"test %, {name}" for name in _OF.values())], rows)


def landed() -> str:
    """Return in a sentence how near the trainings land."""
    found = results.load("targets-landing")["trainings"]
    shares = [one["compact"] / one["asked"] for one in found]
    equal = sum(one["compact"] == one["counted"] for one in found)
    within = sum(0.98 <= share <= 1 for share in shares)
    return (
        f"{within} of {len(found)} trainings land within 2 % of their target, from {min(shares):.1%} to "
        f"{max(shares):.1%} of what was asked; in {equal} the compact network has exactly the size that was counted."
    )


def budgets() -> str:
    """Return accuracies by the number of steps."""
    found = results.load("targets-budgets")["trainings"]
    slow = results.load("targets-budgets-slowly")["trainings"]
    names = list(dict.fromkeys((one["network"], one["start"]) for one in found))
    rows = []
    for network, start in names:
        own = [one for one in found if (one["network"], one["start"]) == (network, start)]
        for steps in sorted({one["steps"] for one in own}):
            group = [one for one in own if one["steps"] == steps]
            landed = [one["compact"] / one["asked"] for one in group]
            without = [one["without"] for one in group if one["without"] is not None]
            beside = [o for o in slow if (o["network"], o["start"], o["steps"]) == (network, start, steps)]
            cells = [
                f"{sum(one['reached'] for one in group)} of {len(group)}",
                f"{min(landed):.1%}",
                spread([one["accuracy"] for one in group], 1, 100),
                spread([one["accuracy"] for one in beside], 1, 100),
                spread(without, 1, 100) if without else "–",
            ]
            rows.append([f"{network}, {_START[start]}, {steps:,} steps", *cells])
    return markdown(["", "reached", "least of what was asked", "test %", "slowly", "without a target"], rows)


def earlier() -> str:
    """Return mean accuracies of the same trainings with the law that pressed all rows, slowly and in one step."""
    kept = {name: results.load(f"targets-{name}")["trainings"] for name in ("earlier", "landing-slowly", "landing")}
    chosen = kept["landing-slowly"]
    rows = []
    for network, optimizer in dict.fromkeys((one["network"], one["optimizer"]) for one in chosen):
        cells = []
        for share in sorted({one["share"] for one in chosen}, reverse=True):
            for found in kept.values():
                same = (network, optimizer, share)
                own = [o["accuracy"] for o in found if (o["network"], o["optimizer"], o["share"]) == same]
                cells.append(f"{100 * sum(own) / len(own):.1f}")
        rows.append([f"{network}, {optimizer}", *cells])
    laws = ("all", "chosen", "one step")
    return markdown(["", *(f"{share}, {law}" for share in ("1/2", "1/5", "1/10") for law in laws)], rows)


def beside() -> str:
    """Return accuracies of trainings with a target, and of removing rows at once."""
    found = results.load("targets-beside")["trainings"]
    rows = []
    for task in dict.fromkeys(one["task"] for one in found):
        own = [one for one in found if one["task"] == task]
        cells = [spread([one["accuracy"] for one in own if one["way"] == way], 1, 100) for way in _WAYS]
        rows.append([f"{task}, {own[0]['steps']} steps", *cells])
    return markdown(["", *_WAYS.values()], rows)


def one_step() -> str:
    """Return accuracies of trainings whose rows go in one step, with ties and without."""
    found = results.load("one_step")["trainings"]
    rows = []
    for task in dict.fromkeys((one["network"], one["optimizer"], one["share"], one["steps"]) for one in found):
        own = [o for o in found if (o["network"], o["optimizer"], o["share"], o["steps"]) == task]
        network, optimizer, share, steps = task
        cells = [spread([one["accuracy"] for one in own if one["ties"] == ties], 1, 100) for ties in (False, True)]
        landed = [one["compact"] / one["asked"] for one in own]
        rows.append([f"{network}, {optimizer}, {_fraction(share)}, {steps:,} steps", f"{min(landed):.1%}", *cells])
    return markdown(["", "least of what was asked", "test %, without ties", "test %, with ties"], rows)


_WAYS = {
    "target": "target",
    "target, slowly": "target, slowly",
    "global, early": "at once, early, all layers together",
    "alike, early": "at once, early, each layer alike",
    "global, late": "at once, late, all layers together",
}


def drops() -> str:
    """Return the networks that the search and the grid found, within the drop on the validation split."""
    rows = []
    for task in _DROPS:
        found = results.load(f"accuracy_drop-{task}")
        for one in found["seeds"]:
            least = one["search"]["reference"] - found["drop"]
            good = [each for each in one["grid"] if each["validation"] >= least]
            steps = sum(each["steps"] for each in one["grid"])
            chosen = [("the search", one["search"], one["search"]["steps"])]
            chosen += [("the best of the grid", min(good, key=lambda each: each["weights"]), steps)] if good else []
            for name, each, cost in [("dense", one["dense"], found["before"]), *chosen]:
                share = f"{each['weights']:,} ({each['weights'] / one['dense']['weights']:.1%})"
                of = f"{_DROPS[task]}, seed {one['seed']}: {name}"
                rows.append([of, share, f"{each['validation']:.2f}", f"{each['test']:.2f}", f"{cost:,}"])
    return markdown(["", "weights", "validation %", "test %", "steps"], rows)


_DROPS = {"mnist": "MNIST", "digits": "digits"}


def latencies() -> str:
    """Return the time of the compact network of every training to half of the dense one's."""
    rows = []
    for one in results.load("latency_target")["trainings"]:
        name = f"{one['network']}, {one['runtime']}, {one['batch']} at a time"
        if "refused" in one:
            rows.append([name, *4 * ["–"], "refused: it takes longer with the least rows"])
            continue
        share = middle(one)
        off = f"{100 * (share / one['asked'] - 1):+.1f} %".replace("-", "−")
        ms = [f"{one[key]:.3f}" for key in ("dense_ms", "compact_ms")]
        rows.append([name, f"{one['counted']:.1%}", *ms, f"{share:.1%}", off])
    head = [
        "half of the time of",
        "at the training's end",
        "dense, ms",
        "compact, ms",
        "afterwards",
        "off what was asked",
    ]
    return markdown(head, rows)


def from_path() -> str:
    """Return the accuracy of trainings that begin anew, or with the path of a search."""
    found = results.load("from_path")["trainings"]
    rows = []
    for steps in dict.fromkeys(one["steps"] for one in found):
        of = {way: [one["test"] for one in found if (one["way"], one["steps"]) == (way, steps)] for way in _PATHS}
        rows.append([f"{steps} steps", *(spread(of[way], 2) for way in _PATHS)])
    return markdown(["test %", *_PATHS.values()], rows)


def quarters() -> str:
    """Return the test accuracy at a quarter of the weights, beside a training as long without a penalty."""
    found = results.load("quarters")["trainings"]
    rows = []
    for task, way in dict.fromkeys((one["task"], one["way"]) for one in found):
        of = [one for one in found if (one["task"], one["way"]) == (task, way)]
        size = "100" if way == "control" else spread([one["weights"] for one in of], 1, 100)
        test = spread([one["accuracy"]["test"] for one in of], 2, 100)
        rows.append([task, way, str(of[0]["epochs"]), str(len(of)), size + " %", test])
    return markdown(["", "way", "epochs", "seeds", "weights left", "test %"], rows)


_PATHS = {"anew": "anew", "path": "with the path", "path and network": "with the path, from the search's network"}
_START = {"scratch": "from scratch", "trained": "from trained weights"}


def _networks(found: list[dict[str, Any]]) -> dict[str, None]:
    return dict.fromkeys(one["network"] for one in found)


def _fraction(share: float) -> str:
    return f"1/{round(1 / share)}"


PAGE = Page(
    DOCS / "targets.md",
    {
        **{f"where-{name}": (lambda name=name: where_measured(results.load(f"targets-{name}"))) for name in _NAMES},  # type: ignore[misc]
        "landing": landing,
        "landed": landed,
        "earlier": earlier,
        "budgets": budgets,
        "beside": beside,
        "one-step": one_step,
        "where-one-step": lambda: where_measured(results.load("one_step")),
        "where-drops": lambda: "\n\n".join(where_measured(results.load(f"accuracy_drop-{task}")) for task in _DROPS),
        "drops": drops,
        "latencies": latencies,
        "where-latencies": lambda: where_measured(results.load("latency_target")),
        "from-path": from_path,
        "quarters": quarters,
        "where-quarters": lambda: where_measured(results.load("quarters")),
        "where-from-path": lambda: where_measured(results.load("from_path")),
    },
)


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
