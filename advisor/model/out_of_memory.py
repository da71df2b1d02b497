"""Whether an error says that memory is lacking, on whatever device: a smaller batch may then do."""

from __future__ import annotations

import re

_SAYS = re.compile(
    r"out of memory"  # torch's allocator, the driver ("CUDA error: out of memory"), Triton, HIP, MPS, XPU
    r"|CU(BLAS|DNN|SPARSE|FFT|SOLVER)_STATUS_ALLOC_FAILED"
    r"|CUDNN_STATUS_NOT_SUPPORTED"  # a convolution whose workspace does not fit
    r"|DefaultCPUAllocator: (can't|not enough)|DefaultCPUAllocator: .*memory"
    r"|Allocation failed",  # of an HPU
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory.

    Torch has a class of its own for what its allocator finds alone (`torch.OutOfMemoryError`). The driver,
    cuBLAS, cuDNN and Triton say it in the text of a RuntimeError, the interpreter with MemoryError.
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and _SAYS.search(str(error)) is not None
