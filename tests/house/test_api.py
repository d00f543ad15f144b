"""The public names: none is lost, none is hidden by a module of its name, and the example runs."""

from __future__ import annotations

import importlib
import pkgutil
import runpy
import types
from pathlib import Path

import pytest

import torch_growl as tg

ROOT = Path(__file__).resolve().parents[2]

NAMES = """GrOWL GrowlError GrowlWarning LayerKind Partition PruningPath Target Tying cluster_rows compact compact_like
compact_optimizer compact_scheduler compensate_ doctor expand export_executorch export_onnx export_program find_tying
group_slope inspect_layers lasso load load_dense load_program measure oscar owl_dual_norm owl_norm pld plot_curve
plot_groups plot_rows prox_growl prox_owl recalibrate_ register_layer row_similarity save shrink slope
structure_of tie_ untie_"""


def test_public_names() -> None:
    assert sorted(tg.__all__) == sorted(NAMES.split())
    assert set(tg.__all__) <= set(dir(tg))


def test_no_public_name_is_a_module_even_after_every_module_is_imported() -> None:
    names = [module.name for module in pkgutil.walk_packages(tg.__path__, "torch_growl.")]
    assert len(names) > 80
    for name in names:
        if name != "torch_growl.__main__" and "integrations." not in name:  # one runs the command, others load trainers
            importlib.import_module(name)
    for name in tg.__all__:
        assert not isinstance(getattr(tg, name), types.ModuleType)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'torch_growl' has no attribute 'prune'"):
        tg.prune  # noqa: B018


def test_every_public_thing_is_documented() -> None:
    for name in tg.__all__:
        assert (getattr(tg, name).__doc__ or "").strip(), name


def test_all_errors_are_one_family() -> None:
    from torch_growl import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 8
    for kind in kinds:
        assert issubclass(kind, errors.GrowlError | UserWarning)
        if "Value" in kind.__name__ or kind in (errors.LayerError, errors.DataError, errors.RecipeError):
            assert issubclass(kind, ValueError)
        if "Type" in kind.__name__:
            assert issubclass(kind, TypeError)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "own_loop.py"))["main"]
    main(epochs=6)
    out = capsys.readouterr().out
    assert "compact: " in out
    assert "MACs" in out
