"""What a training lacks of its machine is one line with a remedy, which holds."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from advisor.errors import InputError
from advisor.objectives.table import get_objective
from harness.train.mendable import mendable, written


def trainer_of(rows: int = 8, accumulated: int = 3, workers: int = 1) -> Any:
    args = SimpleNamespace(
        gradient_checkpointing=True,
        output_dir="out",
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulated,
        dataloader_num_workers=workers,
    )
    return SimpleNamespace(args=args)


def selecting(objective: str) -> Any:
    return SimpleNamespace(args=trainer_of().args, objective=get_objective(objective))


FULL = OSError(errno.ENOSPC, "No space left on device")
TORN = RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")
RUST = SafetensorError("I/O error: No space left on device (os error 28)")
MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
DEAD = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FULL, "out: a file cannot be written (No space left on device): make room, then go on with"),
        (RUST, "out: a file cannot be written (No space left on device): make room, then go on with"),
        (TORN, "out: a file cannot be written (is the disk full?): make room, then go on with"),
        (MEMORY, "memory has no room for 8 rows at a time: the same is trained with "
                 "--per_device_train_batch_size 4 --gradient_accumulation_steps 6;"),
        (DEAD, "a process of the data loader has died (DataLoader worker (pid 7) is killed by signal: "
               "Killed.): go on with --resume_from_checkpoint true"),
    ],
)  # fmt: skip
def test_a_lack_is_one_line(error: Exception, line: str) -> None:
    with pytest.raises(InputError) as found, mendable(trainer_of()):
        raise error
    assert str(found.value).startswith(line) and "--resume_from_checkpoint true" in str(found.value)


def test_a_connection_that_ends_is_a_dead_worker_where_there_are_some() -> None:
    cut = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    with pytest.raises(InputError, match="a process of the data loader has died"):  # noqa: SIM117
        with mendable(trainer_of()):
            raise cut
    with pytest.raises(ConnectionResetError), mendable(trainer_of(workers=0)):
        raise cut


def test_what_is_said_again_on_the_way_is_one_line_too() -> None:
    with pytest.raises(InputError, match=r"has died \(DataLoader worker \(pid 7\)"):  # noqa: SIM117
        with mendable(trainer_of()):
            try:
                with mendable(trainer_of()):
                    raise EOFError
            finally:
                raise DEAD


def test_a_single_row_is_not_halved() -> None:
    with (
        pytest.raises(InputError, match="for a single row at a time"),
        mendable(trainer_of(rows=1)),
    ):
        raise MEMORY


@pytest.mark.parametrize(
    ("objective", "line"),
    [
        ("tailsft", "for the 8 rows among which the objective selects, at a time: give a lower --max_length"),
        ("nll>tailsft", "for the 8 rows among which the objective selects"),
        ("tailsft(whole=1)", "the same is trained with --per_device_train_batch_size 4"),
        ("cadft", "the same is trained with --per_device_train_batch_size 4"),
    ],
)  # fmt: skip
def test_a_smaller_cut_is_offered_only_where_it_trains_the_same(objective: str, line: str) -> None:
    with pytest.raises(InputError, match=line), mendable(selecting(objective)):
        raise MEMORY


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "nothing"), ValueError("x")]
)
def test_all_else_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as found, mendable(trainer_of()), written():
        raise error
    assert found.value is error


@pytest.mark.parametrize("error", [TORN, RUST])
def test_a_checkpoint_that_cannot_be_written_is_the_machines_fault(error: Exception) -> None:
    with pytest.raises(OSError, match="the checkpoint cannot be written"), written():
        raise error


def test_torch_and_safetensors_say_it_so(tmp_path: Path) -> None:
    """What the texts above are taken from."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("a system without /dev/full")
    with pytest.raises(OSError, match="cannot be written"), written():
        torch.save(torch.zeros(10**6), full)
