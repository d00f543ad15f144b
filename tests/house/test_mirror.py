"""Tests mirror the source: a test file has its module's name, or is one of the subjects listed here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.test_mutations import MUTATIONS

TESTS = Path(__file__).resolve().parents[1]
SOURCE = TESTS.parent / "src" / "torch_growl"
APART = ("house", "benchmarks", "support", "distributed")  # folders of tests that mirror no ring

SUBJECTS = {  # test file → the modules that it tests, beside the test files of their names
    "application/recipes/test_builtin_recipes.py": ["application/recipes/loading.py"],
    "application/reports/test_pages_in_chromium.py": [
        "application/reports/comparison.py",
        "application/reports/report.py",
    ],
    "application/runs/test_damaged_runs.py": ["application/runs/run_folder.py", "application/runs/stages.py"],
    "application/runs/test_task_examples.py": ["application/runs/evaluation.py", "application/training/trainer.py"],
    "application/runs/test_tying_in_steps.py": ["application/runs/stages.py", "application/runs/run.py"],
    "integrations/test_recovery_in_transformers.py": [
        "integrations/transformers.py",
        "integrations/distilled_outputs.py",
    ],
    "mathematics/owl/test_operator_gradients.py": ["mathematics/owl/operators.py"],
    "mathematics/owl/test_operator_properties.py": ["mathematics/owl/operators.py"],
    "mathematics/owl/test_row_operator.py": ["mathematics/owl/operators.py"],
    "application/runs/test_runs_with_targets.py": [
        "application/runs/evaluation.py",
        "application/runs/run.py",
        "application/training/trainer.py",
    ],
    "networks/compaction/test_architectures.py": ["networks/compaction/compactor.py"],
    "networks/compaction/test_compactor_fuzz.py": ["networks/compaction/compactor.py"],
    "networks/compaction/test_compactor_power.py": ["networks/compaction/compactor.py", "networks/execution/proof.py"],
    "networks/compaction/test_compactor_refusals.py": ["networks/compaction/compactor.py"],
    "networks/compaction/test_compile_and_quantization.py": ["networks/compaction/compactor.py"],
    "networks/compaction/test_numbered_channels.py": [
        "networks/compaction/shrinking.py",
        "networks/wiring/watching.py",
        "networks/storage/decoding.py",
    ],
    "networks/compaction/test_constant_channels.py": [
        "networks/compaction/folding.py",
        "networks/wiring/constants.py",
    ],
    "networks/compaction/test_pretrained.py": ["networks/compaction/compactor.py"],
    "networks/compaction/test_reports_of_other_tools.py": [
        "networks/compaction/compactor.py",
        "networks/storage/compact_file.py",
    ],
    "networks/compaction/test_tied_values_in_training.py": ["networks/compaction/shrinking.py"],
    "networks/compaction/test_transformer_layers.py": ["networks/compaction/compactor.py"],
    "networks/penalty/test_averages.py": ["networks/penalty/growl.py", "networks/layers/plain.py"],
    "networks/penalty/test_attached_optimizers.py": ["networks/penalty/optimizer_hook.py"],
    "networks/penalty/test_half_precision.py": [
        "networks/penalty/row_step.py",
        "networks/penalty/capturable_step.py",
    ],
    "networks/penalty/test_held_ties.py": [
        "networks/penalty/optimizer_hook.py",
        "networks/penalty/penalised_layers.py",
        "networks/penalty/penalised_network.py",
    ],
    "networks/shrinking/test_attention_heads.py": [
        "networks/shrinking/channels.py",
        "networks/compaction/compactor.py",
    ],
    "networks/storage/test_damaged_files.py": ["networks/storage/container.py", "networks/storage/compact_file.py"],
    "networks/targets/test_compensated_target.py": [
        "networks/targets/control.py",
        "networks/penalty/penalised_network.py",
    ],
    "networks/targets/test_every_loop.py": ["networks/targets/control.py"],
    "networks/targets/test_tying_target.py": ["networks/targets/target.py", "networks/penalty/penalised_network.py"],
}


def modules(source: Path) -> set[str]:
    """The modules that hold code: all but doors and ``__main__``, relative to the package."""
    found = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if not path.stem.startswith("__")}
    assert len(found) > 80
    return found


def named_after(module: str) -> str:
    """The test file with a module's name: ``networks/layers/test_kinds.py``; a leading underscore falls away."""
    path = Path(module)
    return (path.parent / f"test_{path.name.lstrip('_')}").as_posix()


def files_of_tests() -> set[str]:
    found = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    return {file for file in found if file.split("/")[0] not in APART}


def offences(files: set[str], source: set[str], mutated: set[str]) -> list[str]:
    """What breaks the rule: stray test files, and modules that no test file and no mutation is for."""
    own = {named_after(module): module for module in source}
    found = [f"{file} has the name of no module, and is no subject" for file in sorted(files - {*own, *SUBJECTS})]
    found += [f"{file} is a subject and does not exist" for file in sorted(SUBJECTS.keys() - files)]
    found += [
        f"{file} is said to test {module}, which does not exist"
        for file, tested in SUBJECTS.items()
        for module in tested
        if module not in source
    ]
    return found + [
        f"{module} has neither a test file of its name nor a mutation that names its test"
        for file, module in sorted(own.items())
        if file not in files and module not in mutated
    ]


MUTATED = {mutation.file for mutation in MUTATIONS}


def test_tests_mirror_the_source() -> None:
    assert offences(files_of_tests(), modules(SOURCE), MUTATED) == []


def test_the_tests_that_mutations_name_exist() -> None:
    for mutation in MUTATIONS:
        file, test = mutation.test.split("[")[0].split("::")
        tree = ast.parse((TESTS / file).read_text("utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, mutation.test


@pytest.mark.parametrize(
    ("added", "removed", "said"),
    [
        ("networks/layers/test_nothing.py", "", "networks/layers/test_nothing.py has the name of no module"),
        ("", "networks/layers/test_kinds.py", "networks/layers/kinds.py has neither"),
        ("", "networks/storage/test_damaged_files.py", "test_damaged_files.py is a subject and does not exist"),
    ],
)
def test_a_test_file_out_of_place_is_seen(added: str, removed: str, said: str) -> None:
    files = (files_of_tests() | {added}) - {removed, ""}
    mutated = MUTATED - {"networks/layers/kinds.py"}
    (found,) = offences(files, modules(SOURCE), mutated)
    assert said in found
