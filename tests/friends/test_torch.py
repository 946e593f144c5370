"""torch's DataLoader with workers of ours. torch is too large for every run: its tests run where it is installed."""

import multiprocessing.context
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

import allcores as mp


def test_the_process_context_passes_as_one_of_multiprocessing() -> None:
    ours = mp.get_context()
    assert isinstance(ours, multiprocessing.context.BaseContext)
    assert isinstance(ours, mp.Context)
    assert type(ours).__mro__.count(multiprocessing.context.BaseContext) == 0
    assert not isinstance(mp.get_context("thread"), multiprocessing.context.BaseContext)


def test_it_does_not_import_multiprocessing_to_say_so() -> None:
    code = (
        "import allcores, sys; ours = allcores.get_context()\n"
        "assert isinstance(ours, allcores.Context) and not isinstance(ours, int)\n"
        "assert 'multiprocessing' not in sys.modules\n"
        "assert ours.__class__ is type(ours)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=50, check=True)


class Numbers:
    """A dataset: the number at each index, and who looked it up."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> Any:
        import torch

        return torch.full((2000,), float(i)), os.getpid()


class Deadly(Numbers):
    def __getitem__(self, i: int) -> Any:
        if i == 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


class Failing(Numbers):
    def __getitem__(self, i: int) -> Any:
        if i == 10:
            raise KeyError(i)
        return super().__getitem__(i)


def begun(worker: int) -> None:
    os.environ["WORKER"] = str(worker)


@pytest.mark.parametrize("how", [{}, {"persistent_workers": True}, {"worker_init_fn": begun, "prefetch_factor": 1}])
def test_every_batch_in_order_from_two_workers(how: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    data: Any = Numbers()
    loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context=mp.get_context(), **how)
    pids = []
    for _epoch in range(2):
        batches = list(loader)
        assert torch.equal(torch.cat([numbers for numbers, _ in batches])[:, 0], torch.arange(20.0))
        pids.append({int(pid) for _, who in batches for pid in who})
    assert all(len(each) == 2 and os.getpid() not in each for each in pids)
    assert (pids[0] == pids[1]) == ("persistent_workers" in how)


def test_a_failure_in_a_worker_is_raised_as_itself() -> None:
    pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    data: Any = Failing()
    with pytest.raises(KeyError):
        list(DataLoader(data, num_workers=2, multiprocessing_context=mp.get_context()))


def test_a_worker_that_dies_ends_the_iteration() -> None:
    """After the 5 s that torch waits for a batch before it looks at its workers."""
    pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    data: Any = Deadly()
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(DataLoader(data, num_workers=2, multiprocessing_context=mp.get_context()))
