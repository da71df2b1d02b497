"""Where a model goes: the GPU of this process, with its number."""

import pytest
import torch

from advisor.errors import InputError
from advisor.model.device import choose_device


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("rank", "device"), [(None, "cuda:0"), ("0", "cuda:0"), ("1", "cuda:1")])
def test_every_process_of_a_machine_has_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, rank: str | None, device: str
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert choose_device("auto")[0] == device


@pytest.mark.usefixtures("two_gpus")
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match=r"3 or more processes .* has 2 GPU"):
        choose_device("auto")


@pytest.mark.usefixtures("two_gpus")
def test_the_cpu_stays_the_cpu_beside_a_gpu() -> None:
    assert choose_device("cpu")[0] == "cpu"


def test_without_a_gpu_it_is_the_cpu() -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has an accelerator")
    assert choose_device("auto")[0] == "cpu"
