"""The versions of the packages that a result hangs on: the one list of them."""

from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "objective-advisor", "torch", "transformers", "datasets", "trl", "tokenizers", "numpy", "peft",
    "accelerate", "lm_eval",
)  # fmt: skip


def versions(*more: str) -> dict[str, str]:
    """Name to version of the packages above and of some more, "not installed" where one is not there."""
    return {name: _version(name) for name in (*PACKAGES, *more)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
