"""Imports point inwards only: mathematics ← networks ← application. The rings are the package's folders' order."""

from __future__ import annotations

import ast
from pathlib import Path

import torch_growl

PACKAGE = Path(torch_growl.__file__).parent

MATHEMATICS = {
    "errors",
    "partition",
    "channels",
    "sequences",
    "owl",
    "_address",
    "_workers",
    "_compile",
    "minmax",
    "_sorting",
    "_rows",
    "_shrink",
    "_pava",
    "similarity",
    "clustering",
    "merging",
    "pairs",
    "_pairs",
    "_affinity",
    "_search",
    "_enumerate",
    "_escape",
    "_optimum",
}
NETWORKS = {
    "layers",
    "inspection",
    "overrides",
    "penalty",
    "step",
    "step_size",
    "layout",
    "capturable",
    "tying",
    "tied",
    "parametrized",
    "inputs",
    "shared_inputs",
    "graph",
    "structure",
    "structure_codec",
    "recording",
    "operations",
    "products",
    "demand",
    "cut_sizes",
    "folding",
    "structure_v1",
    "examples",
    "proof",
    "planning",
    "rewriting",
    "compaction",
    "measurement",
    "container",
    "index_codec",
    "program",
    "quantization",
    "storage",
    "tracing",
    "exporting",
    "latency",
    "carrying",
    "diagnosis",
}
PARALLEL = [("penalty", "tying"), ("penalty", "tied"), ("compaction", "penalty"), ("compaction", "owl")]


def imports() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("torch_growl"):
                names.add(node.module.removeprefix("torch_growl").lstrip("."))
            elif isinstance(node, ast.Import):
                names |= {a.name.removeprefix("torch_growl.") for a in node.names if a.name.startswith("torch_growl.")}
        found[module] = {name.split(".")[0] for name in names if name}
    return found


def ring(module: str) -> int:
    top = module.split(".")[0]
    return 1 if top in MATHEMATICS else 2 if top in NETWORKS else 3


def test_an_inner_ring_never_imports_an_outer_one() -> None:
    found = imports()
    assert set(found) >= MATHEMATICS - {"_affinity"} | NETWORKS
    wrong = [(a, b) for a, names in found.items() for b in names if ring(b) > ring(a)]
    assert wrong == []


def test_parts_that_are_useful_alone_do_not_import_one_another() -> None:
    found = imports()
    assert [(a, b) for a, b in PARALLEL if b in found[a] or (b in found and a in found[b] and a != "compaction")] == []


def test_mathematics_knows_no_modules() -> None:
    for name in MATHEMATICS:
        path = PACKAGE / f"{name}.py"
        if path.exists():
            assert "nn.Module" not in path.read_text(encoding="utf-8"), name
