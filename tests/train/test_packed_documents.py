"""Documents of a packed row: read once a batch, and the one call over all of them asks for what it should."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from harness.train.packed_documents import Newest, attend, documents_of, fits

POSITIONS = torch.tensor([[0, 1, 2, 0, 0, 1, 2, 3]])


def test_documents_begin_where_positions_do() -> None:
    found = documents_of(POSITIONS)
    assert found.lengths == [3, 1, 4] and found.ends.tolist() == [0, 3, 4, 8]
    assert found.ends.dtype == torch.int32 and found.longest == 4
    assert documents_of(torch.tensor([[5, 6, 0, 1]])).lengths == [2, 2]


def test_positions_are_read_once_a_batch() -> None:
    newest, row = Newest(), POSITIONS.clone()
    assert [newest.of(row).lengths for _ in range(3)] == [[3, 1, 4]] * 3 and newest.reads == 1
    row[0, 6] = 0  # the same tensor with other positions
    assert newest.of(row).lengths == [3, 1, 2, 2] and newest.reads == 2
    other = POSITIONS.clone()
    assert newest.of(other).lengths == [3, 1, 4] and newest.reads == 3


def by_document(q: Any, k: Any, v: Any, ends: torch.Tensor, scale: float, causal: bool) -> Any:
    """What the kernel is documented to compute: [tokens, heads, width] each."""
    parts = []
    for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        one = (states[first:last].transpose(0, 1) for states in (q, k, v))
        parts.append(
            scaled_dot_product_attention(*one, is_causal=causal, scale=scale, enable_gqa=True)
        )
    return torch.cat([part.transpose(0, 1) for part in parts])


def newer(
    q: Any, k: Any, v: Any, ends: Any, _: Any, longest: int, __: int, *,
    scale: Any = None, window_size: Any = (-1, -1), enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """The signature of PyTorch 2.11 and later."""
    assert longest == 4 and (enable_gqa or q.shape[1] == k.shape[1])
    return by_document(q, k, v, ends, scale, window_size == (-1, 0))


def older(
    q: Any, k: Any, v: Any, ends: Any, _: Any, longest: int, __: int, is_causal: bool = False
) -> Any:
    """That of PyTorch 2.10, which scales by the width alone and wants as many heads of keys."""
    assert longest == 4 and q.shape[1] == k.shape[1]
    return by_document(q, k, v, ends, q.shape[-1] ** -0.5, is_causal)


@pytest.mark.parametrize("run", [newer, older])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_it_is_attention_within_each_document(
    run: Callable[..., Any], scaling: float | None
) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, 8, 16) for heads in (4, 2, 2))
    found = attend(run, q, k, v, documents_of(POSITIONS), scaling=scaling)
    scale = 0.25 if scaling is None else scaling
    apart = torch.block_diag(*(torch.ones(n, n) for n in (3, 1, 4))).tril().bool()
    expected = scaled_dot_product_attention(q, k, v, apart, scale=scale, enable_gqa=True)
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_a_cpu_keeps_its_own_calls() -> None:
    states = torch.zeros(1, 2, 8, 16, dtype=torch.bfloat16)
    assert not fits(states, states, dropout=0.0)
