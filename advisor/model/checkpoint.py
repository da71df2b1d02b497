"""A model's folder or hub id, before anything of it is loaded.

Where it is, whether its files are safe to open, its fingerprint, and the one line for each way in which
reading it can fail. Used by `advisor/model/load.py`; needs no torch.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from advisor.data.data_files import check_pointer, is_data
from advisor.errors import InputError
from advisor.files import find, read_json
from advisor.model.kind import kind as kind
from advisor.names import neighbour

WHOLE_HASH = 2 * 1024**3  # bytes of weights that are hashed in full
SAMPLE = 1024**2  # bytes hashed at each end of a larger file
VOCABULARY_FILES = ["tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"]
VOCABULARY_FILES += ["sentencepiece.bpe.model", "tekken.json", "*.tiktoken", "tokenization_*.py"]
TOKENIZER_FILES = [
    *VOCABULARY_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "merges.txt",
]
TOKENIZER_FILES += ["added_tokens.json", "chat_template*", "additional_chat_templates/*"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
STATES = ("optimizer", "scheduler", "scaler", "rng_state", "training_args", "pytorch_model_fsdp")
"""Beginnings of files that stand beside the weights of a training."""


def locate(name_or_path: str | Path) -> tuple[str, Path | None]:
    """The name to show, and the folder if it is one or the one of a GGUF file; None means a hub id.

    Raises:
        InputError: a path that leads nowhere or to another file; names the nearest neighbour.
    """
    name = str(name_or_path)
    path, there = find(name)
    if name and there == "folder":
        return name, path
    if there == "file" and path.suffix.lower() == ".gguf":
        return name, path.parent
    if there == "file":
        raise InputError(
            f"{name}: is a file, not a model: give the folder with its config.json, or a .gguf file; "
            "the command takes MODEL DATASET"
        )
    is_path = isinstance(name_or_path, Path) or name.startswith((".", "/", "~")) or not name
    if is_path or name.count("/") > 1 or ("/" in name and path.parent.is_dir()):
        near = neighbour(path)
        hint = f"; {near}" if near else ""
        raise InputError(f"{name or 'MODEL'}: no such folder{hint}")
    return name, None


def check_config(name: str, folder: Path) -> None:
    """Refuses a folder that is not a model."""
    if (folder / "config.json").is_file():
        try:
            config = read_json(folder / "config.json")
        except ValueError as error:
            raise refusal(name, error, "its config.json is broken") from error
        if not isinstance(config, dict):
            raise InputError(f"{name}: its config.json holds no settings: {str(config)[:40]}")
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                f"{name}: holds an adapter beside a config.json, and transformers would load the "
                "adapter's base, not this model: merge the adapter, or move it to a folder of its own"
            )
        return
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{name}: is an adapter, not a model: merge it into its base first, with PEFT's "
            "AutoPeftModelForCausalLM.from_pretrained(ADAPTER).merge_and_unload().save_pretrained(DIR), "
            "and save the tokenizer there"
        )
    raise InputError(f"{name}: not a model folder: it has no config.json{_inside(folder)}")


def _inside(folder: Path) -> str:
    """What a folder holds that may have been meant."""
    models = [p.parent for p in sorted(folder.glob("*/config.json"), key=_step)]
    if models:
        return f"; it holds {', '.join(p.name for p in models[-5:])}: give {models[-1]}"
    adapters = [p.parent for p in sorted(folder.glob("*/adapter_config.json"), key=_step)]
    if adapters:
        return (
            f"; it holds adapters ({', '.join(p.name for p in adapters[-5:])}): merge one of them"
        )
    if partial := sorted(folder.glob("checkpoint-*/"), key=lambda p: _step(p / "config.json")):
        names = ", ".join(p.name for p in partial[-5:])
        return (
            f"; it holds {names}, of a training, without a config.json in them: copy them whole, with "
            "config.json, weights and tokenizer, and give one of them"
        )
    if any(is_data(path) for path in folder.iterdir()):
        return "; it holds data files, and the command takes MODEL DATASET"
    return ""


def _step(path: Path) -> tuple[int, str]:
    """Checkpoints in the order of training."""
    number = re.search(r"checkpoint-(\d+)$", path.parent.name)
    return int(number[1]) if number else -1, path.parent.name


def check_tokenizer(name: str, folder: Path) -> None:
    """Refuses a folder without a vocabulary."""
    if not any(any(folder.glob(pattern)) for pattern in VOCABULARY_FILES):
        raise no_tokenizer(name)


def is_pickled(name: str, folder: Path, *, allow_pickle: bool) -> bool:
    """Whether the folder's only weights are pickled; refuses those that nobody allowed."""
    if any(folder.glob("*.safetensors")):
        return False
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    weights = [file for file in pickles if not file.startswith(STATES)]
    if not weights:
        raise InputError(
            f"{name}: no weights: there is no *.safetensors file in it{_instead(folder)}"
        )
    if not allow_pickle:
        raise pickle_refused(name, weights[0])
    if not any(file.startswith("pytorch_model") for file in weights):
        raise InputError(f"{name}: {weights[0]}: only pytorch_model.bin is read: convert it first")
    return True


def _instead(folder: Path) -> str:
    """What a folder without weights holds, and how weights come of it."""
    if (folder / "adapter_config.json").is_file():
        return "; it holds an adapter: merge it into its base first"
    if any(folder.glob("global_step*")):
        return "; it holds DeepSpeed's shards: run its zero_to_fp32.py there"
    if any(folder.glob("pytorch_model_fsdp*")):
        return "; it holds FSDP's shards: run accelerate merge-weights on them"
    if any(folder.glob("*.safetensors.index.json")):
        return ", only its index: copy the model-*-of-*.safetensors files as well"
    within = [p.parent for p in sorted(folder.glob("*/*.safetensors"), key=_step)]
    if within:
        return f"; its folder {within[-1].name} has some: give {within[-1]}"
    return ""


def check_weight_files(folder: Path) -> None:
    """Refuse weights that are pointers of Git LFS, or whose index names files that are not there."""
    for path in (*folder.glob("*.safetensors"), *folder.glob("tokenizer.*")):
        check_pointer(path)
    for index in folder.glob("*.safetensors.index.json"):
        try:
            named = set(map(str, read_json(index)["weight_map"].values()))
            absent = sorted(file for file in named if not (folder / file).is_file())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{index}: is broken ({str(error)[:200]}); copy it again") from error
        if absent:
            raise InputError(
                f"{folder}: lacks {len(absent)} of the {len(named)} weight files that {index.name} "
                f"names (first: {absent[0]}); copy them as well"
            )


def fingerprint(folder: Path, file: Path | None = None) -> tuple[str, list[str]]:
    """16 hexadecimal digits over weights and config, and a note where not every byte was read.

    Args:
        folder: the model's.
        file: a GGUF file, which holds everything.
    """
    weights = (
        [file]
        if file
        else sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    )
    whole = sum(path.stat().st_size for path in weights) <= WHOLE_HASH
    digest = hashlib.sha256()
    for path in weights if file else [*weights, folder / "config.json"]:
        for chunk in _chunks(path, whole=whole):
            digest.update(chunk)
    note = "Over 2 GB of weights: fingerprinted by the size and both ends of each file."
    return digest.hexdigest()[:16], [] if whole else [note]


def tokenizer_fingerprint(folder: Path) -> str:
    """16 hexadecimal digits over the files that make a tokenizer, its chat templates among them."""
    files = {path for pattern in TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file()}
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def refusal(name: str, error: BaseException, what: str) -> InputError:
    """One line for whatever transformers or the hub raised while reading `name`."""
    from huggingface_hub import errors as hub_errors  # a third of a second

    from advisor.hub import HUB_ERRORS

    text = f"unknown value {error}" if isinstance(error, KeyError) else str(error)
    if "trust_remote_code" in text or "custom code" in text:
        return code_refused(name)
    if "safetensors" in text and "does not appear to have a file" in text:
        return pickle_refused(name, "its weights file")
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HUB_ERRORS):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, hub_errors.GatedRepoError):
        return InputError(f"{name}: gated on the hub: accept its terms and run `hf auth login`")
    if isinstance(cause, hub_errors.RepositoryNotFoundError):
        return InputError(f"{name}: neither a folder here nor a public model on the hub")
    if cause is not None:
        return InputError(
            f"{name}: no folder here, not in the hub's cache, and the hub is out of reach"
        )
    line = " ".join((text.strip() or type(error).__name__).split("\n\n")[0].split())
    line = line[:200].rstrip(" .:")
    return InputError(f"{name}: {what}: {line}")


def no_tokenizer(name: str) -> InputError:
    """The refusal of a model without tokenizer."""
    return InputError(
        f"{name}: no tokenizer ({', '.join(VOCABULARY_FILES[:3])} are all missing): "
        "save the model's own there with tokenizer.save_pretrained()"
    )


def code_refused(name: str) -> InputError:
    """The refusal of a model that brings its own code."""
    return InputError(
        f"{name}: needs code that comes with the model: read that code, then allow it to run here "
        "with --trust_remote_code"
    )


def pickle_refused(name: str, file: str) -> InputError:
    """The refusal of pickled weights, and what allowing them means."""
    return InputError(
        f"{name}: {file} is pickled, not safetensors, and unpickling a file can run code from it: "
        "convert it to safetensors, or allow it with --allow_pickle if you trust its source"
    )


def _chunks(path: Path, *, whole: bool) -> Iterator[bytes]:
    """The bytes of a file, or its size, first and last megabyte."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if whole or size <= 2 * SAMPLE:
            while chunk := file.read(SAMPLE):
                yield chunk
            return
        yield str(size).encode()
        yield file.read(SAMPLE)
        file.seek(-SAMPLE, os.SEEK_END)
        yield file.read(SAMPLE)
