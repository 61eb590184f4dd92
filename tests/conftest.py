"""What every test may ask for: the shared data sets, and the table of tolerances."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

# Tests compute small things: waking a second thread for each operation costs more than it gives, and a great
# deal more where the suite shares its cores.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # and so for the programs that tests start

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _machine_code_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled kernels go to the run's own folder, which its workers share: nobody's cache is read or written."""
    folder = tmp_path_factory.getbasetemp()
    os.environ["GATEWORK_CACHE"] = str(
        (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "kernels"
    )


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of outside data sets: `GATEWORK_DATA`, or `../shared/data` beside the checkout."""
    return (ROOT / os.environ.get("GATEWORK_DATA", "../shared/data")).resolve()


@pytest.fixture
def shared_data(data_root: Path) -> Callable[[str], Path]:
    """`shared_data("language_modelling/tinyshakespeare")` is that path; where it is absent the test is
    skipped, and the list at the end of the run says which data was missing."""

    def find(name: str) -> Path:
        path = data_root / name
        if not path.exists():
            pytest.skip(f"no {name} in the outside data: set GATEWORK_DATA to the folder that holds it")
        return path

    return find


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    """Each test starts from the same random state, so that the order of tests decides nothing."""
    torch.manual_seed(0)
