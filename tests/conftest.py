"""Fixtures every test can use, and the rules no test may break: seeds set, no threads or settings leaked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

# The pinned torchvision is built for another torch: its operators cannot be loaded, and nothing here needs them.
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

hypothesis.settings.register_profile("torch-growl", deadline=None, derandomize=True)
hypothesis.settings.load_profile("torch-growl")

ROOT = Path(__file__).resolve().parents[1]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """A test starts from a seed and must leave torch's settings and threads as they were."""
    torch.manual_seed(0)
    before = _settings()
    threads = {thread.name for thread in threading.enumerate()}
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)  # a recipe's `threads` is the process's, as it is for the command
    assert before == _settings()
    # Libraries keep pools of their own (named after them); a plain "Thread-N" is one the code under test forgot.
    # torch 2.8's compiler keeps "Thread-N (_read_thread)"; rich 13.8 stops its thread without waiting for its end.
    new = [thread for thread in threading.enumerate() if thread.name not in threads]
    plain = [each for each in new if each.name.startswith("Thread-") and not each.name.endswith("(_read_thread)")]
    for each in plain:
        each.join(timeout=1)
    assert not [each.name for each in plain if each.is_alive()]


def _settings() -> tuple[object, ...]:
    return torch.get_default_dtype(), torch.is_grad_enabled(), os.environ.get("GROWL_DATA")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real datasets, or a skip that says what is missing."""
    given = os.environ.get("GROWL_DATA", "../shared/data")
    folder = Path(given) if Path(given).is_absolute() else ROOT / given
    if not folder.is_dir():
        pytest.skip(f"no real datasets: {given} is not there (set GROWL_DATA to a folder that holds mnist/)")
    return folder


@pytest.fixture(scope="session")
def cifar10(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real CIFAR-10 batches, made from the data folder's own material where that has none."""
    for folder in (Path(os.environ.get("GROWL_CIFAR10", data_dir)), data_dir):
        if any((folder / name).is_dir() for name in ("cifar-10-batches-bin", "cifar-10-batches-py")):
            return folder
    script = data_dir / "make_cifar10.py"
    if not script.is_file():
        pytest.skip("no CIFAR-10 batches (set GROWL_CIFAR10 to a folder that holds cifar-10-batches-bin)")
    made = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, str(script), str(made)], check=True, capture_output=True)
    return made
