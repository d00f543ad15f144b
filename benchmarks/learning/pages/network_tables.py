"""Makes the tables of the experiments on other networks from the kept results."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown, spread

__all__ = ["lenet5", "one_strength", "resnet20", "table2", "table2_short"]


def one_strength() -> str:
    """Return the results of every task."""
    tasks: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for job in results.load("one_strength")["jobs"]:
        tasks[job["task"], job["penalty"]].append(job)
    rows = [
        [
            f"{task}, {penalty}",
            str(len(of)),
            " + ".join(map(str, of[0]["epochs"])),
            spread([job["dense"] for job in of], 2, 100),
            spread([job["compact"] for job in of], 2, 100),
            spread([job["network"] for job in of], 2) + "x",
            spread([job["macs"] for job in of], 2) + "x",
            ", ".join(dict.fromkeys(job["commit"] for job in of)),
        ]
        for (task, penalty), of in tasks.items()
    ]
    head = ["task, penalty", "seeds", "epochs", "dense %", "compact %", "`compression.network`", "MACs"]
    return markdown([*head, "commit"], rows)


def resnet20() -> str:
    """Return the runs to half the MACs."""
    rows = []
    for run in results.load("resnet20")["runs"]:
        macs, weights, accuracy = run["macs"], run["weights"], run["accuracy"]
        rows.append(
            [
                f"ResNet-{run.get('depth', 20)}: {run['layers']}, {run['balance']:g}",
                f"{run['epochs']['path']:.1f} + {run['epochs']['compact']}, batches of {run['batch']}",
                f"{accuracy['dense']:.2%} → {accuracy['compact']:.2%}",
                f"{macs['dense'] / macs['compact']:.2f}x",
                f"{weights['dense'] / weights['compact']:.2f}x",
                f"{run['trained']['device']}, torch {run['trained']['torch']}, {run['commit']}",
            ]
        )
    return markdown(["rows, balance", "epochs", "accuracy", "MACs", "weights", "trained on"], rows)


# Quoted, not run here: Louizos et al. 2017, Neklyudov et al. 2017, Louizos et al. 2018, as L0's authors list them.
LENET5 = {
    "SBP (quoted)": ("3-18-284-283", "0.9 %", "217k"),
    "BC-GNJ (quoted)": ("8-13-88-13", "1.0 %", "290k"),
    "BC-GHS (quoted)": ("5-10-76-16", "1.0 %", "158k"),
    "L0-sep (quoted)": ("9-18-65-25", "1.0 %", "403k"),
}


def widths(cuts: list[dict[str, Any]], groups: int) -> str:
    """Write the widths of a compact LeNet-5 as the literature does: filters, filters, inputs and outputs of fc1.

    After the inputs, into how many groups they are tied.
    """
    of = {cut["layer"]: cut for cut in cuts}
    inputs = of["fc1"]["rows"][1]
    return f"{of['conv1']['outputs'][1]}-{of['conv2']['outputs'][1]}-{inputs} (→ {groups})-{of['fc1']['outputs'][1]}"


def lenet5() -> str:
    """Return the LeNet-5 results beside structured results of the literature."""
    jobs = results.load("lenet5")["jobs"] if results.exists("lenet5") else []
    rows = [
        [
            f"seed {job['seed']}",
            widths(job["cuts"], job["groups"]),
            f"{100 * (1 - job['dense']['test']):.2f} → {100 * (1 - job['compact']['test']):.2f} %",
            f"{job['mac_count'] / 1000:.0f}k",
            f"{job['weights']:,}",
            f"{job['network']:.0f}x",
            f"{job['macs']:.1f}x",
        ]
        for job in jobs
    ]
    mean = (
        [
            "mean ± sd",
            "",
            spread([1 - job["compact"]["test"] for job in jobs], 2, 100) + " %",
            spread([job["mac_count"] for job in jobs], 0, 1e-3) + "k",
            spread([job["weights"] for job in jobs], 0),
            spread([job["network"] for job in jobs], 0) + "x",
            spread([job["macs"] for job in jobs], 1) + "x",
        ]
        if jobs
        else ["**not run to the end**: tested on a few batches", "–", "–", "–", "–", "–", "–"]
    )
    rows.append(mean)
    rows += [[name, left, error, macs, "–", "–", "–"] for name, (left, error, macs) in LENET5.items()]
    return markdown(
        ["", "left of 20-50-800-500 (→ groups)", "error", "MACs", "weights", "`compression.network`", "MACs fewer"],
        rows,
    )


def table2() -> str:
    """Return the rows of Table 2 that were run."""
    if not results.exists("table2"):
        return "**Not run to the end**: the command is tested end to end on a few batches."
    jobs = results.load("table2")["jobs"]
    rows = [
        [
            job["row"],
            str(job["seed"]),
            f"{job['paper']['compression']:.1f}x" if "paper" in job else "–",
            f"{job['test']:.2%}",
            f"{job['network']:.1f}x",
            f"{job['macs']:.2f}x",
            f"{job['share']:g}",
        ]
        for job in jobs
    ]
    head = ["row", "seed", "the paper's counting", "accuracy", "`compression.network`", "MACs", "share of the epochs"]
    return markdown(head, rows)


def table2_short() -> str:
    """Return the rows of Table 2 on a short schedule."""
    rows = [
        [
            row["row"],
            f"{row['cut']['test']:.2%}" if "cut" in row else "–",
            f"{row['accuracy']['test']:.2%}",
            f"{row['compression']:.1f}x",
            f"{row['network']:.1f}x",
            f"{row['macs']:.2f}x",
        ]
        for row in results.load("table2_short")["rows"]
    ]
    head = ["row", "before the last training", "test accuracy", "the paper's counting", "`compression.network`", "MACs"]
    return markdown(head, rows)
