"""Pages name only what exists: links, headings, commands, recipes, modules, public names, paths; and every room."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import torch_growl as tg

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "torch_growl"
RINGS = ("mathematics", "networks", "application")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = [path for folder in ("src", "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
ARCHITECTURE = ROOT / "docs" / "contributing" / "architecture.md"

# A path in backticks belongs to the repository when it begins with one of these.
TOPS = {"src", "tests", "benchmarks", "docs", "examples", ".github", "torch_growl", "integrations", *RINGS}
BASES = (ROOT, ROOT / "src", PACKAGE)


# ── reading a page ──────────────────────────────────────────────────────────────────────────────────────────────────


def code_of(page: str) -> list[str]:
    """Every code span, and every line of a fenced or an indented block."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (\S.*)$", rest, re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)]
    return [line.strip() for block in fenced for line in block.splitlines()] + indented + spans


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def links(page: str, where: Path) -> Iterator[str]:
    """Relative links that lead nowhere."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = where.parent / path if path else where
        if there.parent.resolve() == ROOT / "docs" / "api":  # made when the site is built
            yield from ([] if there.stem in ("index", *tg.__all__) else [f"link to {target}"])
        elif not there.exists():
            yield f"link to {target}"
        elif anchor and anchor not in anchors(page if there == where else there.read_text("utf-8")):
            yield f"heading {target}"


# ── what a page names ───────────────────────────────────────────────────────────────────────────────────────────────


@cache
def growl_options() -> dict[str, set[str]]:
    """Every subcommand of ``growl`` with its options."""
    import typer

    from torch_growl.application.command.app import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {name: {flag for option in command.params for flag in option.opts} for name, command in commands.items()}


@cache
def recipe_names() -> set[str]:
    from torch_growl.application.recipes import builtin_recipes

    return set(builtin_recipes())


def growl_commands(code: str) -> Iterator[str]:
    """Subcommands, options and recipes of ``growl`` that do not exist; words in capitals stand for something else."""
    for text in re.findall(r"(?:^|&& |; )growl ([\w-][^&;#]*)", code):
        first, *words = text.split()
        if first.startswith("-") or first.isupper():
            first, names = "", list(growl_options())
        else:
            names = first.split("|")
        unknown = [name for name in names if name not in growl_options()]
        yield from (f"growl {name}" for name in unknown)
        known = set().union(*(growl_options().get(name, set()) for name in names)) | {"--version", "--help"}
        flags = [word.split("=")[0] for word in words if word.startswith("--")]
        if not unknown:
            yield from (f"growl {first} {flag}" for flag in flags if flag not in known)
        if first in ("run", "sweep") and words and re.fullmatch(r"[a-z][\w-]*", words[0]):
            yield from ([] if words[0] in recipe_names() else [f"recipe {words[0]}"])


def benchmark_commands(code: str) -> Iterator[str]:
    """``python -m benchmarks.…`` that cannot be run, or has no such option; capitals stand for something else."""
    shared = (ROOT / "benchmarks" / "harness" / "command.py").read_text("utf-8")
    for module, rest in re.findall(r"python -m (benchmarks\.[\w.]+\w)([^&;#]*)", code):
        if re.search(r"\b[A-Z]{3,}\b", module):
            continue
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        source = path.read_text("utf-8") if path.is_file() else ""
        if '__name__ == "__main__"' not in source:
            yield f"python -m {module}"
        else:
            for flag in re.findall(r"--[a-z-]+", rest):
                listed = 'f"--{name}"' in source and f'"{flag[2:]}"' in source  # added in a loop over names
                if f'"{flag}"' not in source + shared and not listed:
                    yield f"python -m {module} {flag}"


def make_targets(code: str) -> Iterator[str]:
    """Targets of ``make`` that do not exist."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?:^|&& )make ([a-z]+)", code):
        if not re.search(rf"^{target}:", makefile, re.MULTILINE):
            yield f"make {target}"


def dotted_names(code: str) -> Iterator[str]:
    """``tg.name``, ``torch_growl.module.name`` and ``benchmarks.module`` that do not exist."""
    for name in re.findall(r"(?<!-m )(?<![\w./])(?:tg|torch_growl|benchmarks)(?:\.\w+)+", code):
        first, *parts = name.split(".")
        module = "torch_growl" if first == "tg" else first
        found: object = importlib.import_module(module)
        for part in parts:
            module = f"{module}.{part}"
            if hasattr(found, part):
                found = getattr(found, part)
            elif hasattr(found, "__path__") and find_spec(module):
                found = importlib.import_module(module)
            else:
                yield name
                break


def paths(code: str) -> Iterator[str]:
    """Paths of the repository that do not exist; ``*`` and capitals (NAME) stand for something else."""
    for path in re.findall(r"^[\w.-]+(?:/[\w.*-]+)*/?$", code):
        meant = (path.split("/")[0] in TOPS and "/" in path) or path.endswith(".py")
        exact = meant and not re.search(r"\b[A-Z]{3,}\b", path)
        if exact and not any(any(base.glob(path.rstrip("/"))) for base in BASES):
            yield path


def faults(page: str, where: Path) -> list[str]:
    """Everything that a page names and that does not exist."""
    found = list(links(page, where))
    for code in code_of(page):
        found += [*growl_commands(code), *benchmark_commands(code), *make_targets(code)]
        found += [*dotted_names(code), *paths(code)]
    return found


# ── the tests ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_everything_that_a_page_names_exists(page: Path) -> None:
    assert faults(page.read_text("utf-8"), page) == []


def test_the_pages_are_found() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "docs/method.md", "docs/contributing/architecture.md"} <= names


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[x](nowhere.md)", "link to nowhere.md"),
        ("[x](docs/api/prune.md)", "link to docs/api/prune.md"),
        ("![x](docs/images/nothing.png)", "link to docs/images/nothing.png"),
        ("[x](docs/format.md#no-such-heading)", "heading docs/format.md#no-such-heading"),
        ("# One\n[x](#two)", "heading #two"),
        ("`growl polish RUN`", "growl polish"),
        ("`growl train|prune RUN`", "growl prune"),
        ("```sh\nmake run && growl run digits --fast\n```", "growl run --fast"),
        ("`growl run digitz`", "recipe digitz"),
        ("```sh\nmake dist   # a comment\n```", "make dist"),
        ("`python -m benchmarks.prox`", "python -m benchmarks.prox"),
        ("`python -m benchmarks.harness.pages`", "python -m benchmarks.harness.pages"),
        ("    python -m benchmarks.kernels.prox --fast", "python -m benchmarks.kernels.prox --fast"),
        ("`tg.prune(model)`", "tg.prune"),
        ("```python\nsmall = tg.GrOWL.compact(model)\n```", "tg.GrOWL.compact"),
        ("`torch_growl.networks.exporting.onnxx`", "torch_growl.networks.exporting.onnxx"),
        ("`benchmarks.kernels.pros`", "benchmarks.kernels.pros"),
        ("`src/torch_growl/recipes.py`", "src/torch_growl/recipes.py"),
        ("`networks/owl/`", "networks/owl/"),
        ("`benchmarks/results/*.csv`", "benchmarks/results/*.csv"),
        ("`wiring.py`", "wiring.py"),
    ],
)
def test_a_name_that_does_not_exist_is_found(text: str, fault: str) -> None:
    assert faults(text, ROOT / "README.md") == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "[x](docs/format.md#int8) and [y](https://example.org/nowhere.md)",
        "`growl STAGE RUN --again`, `growl --version`, `growl train|tie RUN --data DIR`, `growl run mine.yaml`",
        "`python -m benchmarks.kernels.prox --quick --resume`",
        "`tg.GrOWL.attach`, `tg.pld(p=0.5)`, `runs/digits`, `benchmarks/results/NAME.json`, `networks/wiring/`",
        "```python\ngrowl = tg.GrOWL(model)  # growl.attach\n```",
    ],
)
def test_names_that_exist_are_no_faults(text: str) -> None:
    assert faults(text, ROOT / "README.md") == []


def test_the_architecture_lists_every_room_in_the_order_of_imports() -> None:
    page = ARCHITECTURE.read_text("utf-8")
    rooms = re.findall(rf"^\| `((?:{'|'.join(RINGS)})/\w+)/`", page, re.MULTILINE)
    wanted = [
        f"{ring}/{room}"
        for ring in RINGS
        for line in re.findall(r"^\* (``.*?``): ", importlib.import_module(f"torch_growl.{ring}").__doc__ or "", re.M)
        for room in re.findall(r"``(\w+)``", line)
    ]
    folders = {path.relative_to(PACKAGE).as_posix() for ring in RINGS for path in (PACKAGE / ring).glob("[a-z]*/")}
    assert rooms == wanted
    assert set(rooms) == folders


def test_sources_name_only_pages_that_exist() -> None:
    named = {
        (page, path.relative_to(ROOT).as_posix())
        for path in SOURCES
        if path != Path(__file__)
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text("utf-8"))
    }
    assert len(named) > 5
    assert [pair for pair in sorted(named) if not (ROOT / pair[0]).is_file()] == []


def test_the_number_of_architectures_is_the_measured_one() -> None:
    measured = len(json.loads((ROOT / "benchmarks" / "results" / "architectures.json").read_text("utf-8"))["networks"])
    told = [
        (page.name, int(number))
        for page in PAGES
        for number in re.findall(r"(\d+)\s+(?:real\s+)?architectures", page.read_text("utf-8"))
    ]
    assert {page for page, _ in told} >= {"architectures.md", "compaction.md", "CHANGELOG.md"}
    assert {number for _, number in told} == {measured}


def test_the_citation_has_the_version_of_the_package() -> None:
    cited = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert cited == [tg.__version__]
