"""GGUF files as models: which file a name means, what it says of itself, and what cannot be done with it.

transformers reads them (`gguf_file`) with the package `gguf`, and unpacks the weights. They are measured,
not trained: rounded weights are no start for training, and what is saved would be no GGUF file.
"""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from advisor.data.data_files import check_pointer
from advisor.errors import InputError

SUFFIX = ".gguf"
MAGIC = b"GGUF"
SHARD = re.compile(r"-\d{5}-of-(\d{5})$")


def find(path: Path) -> Path | None:
    """The GGUF file that a path is, or that a folder without other weights holds; None for another model.

    Raises:
        InputError: Several files in the folder, a part of a file, or one that is no GGUF.
    """
    if path.is_file():
        if path.suffix.lower() != SUFFIX:
            return None
        return _checked(path)
    if not path.is_dir() or any(path.glob("*.safetensors")) or any(path.glob("pytorch_model*.bin")):
        return None
    found = sorted(p for p in path.glob("*.gguf") if not p.name.startswith("mmproj"))
    if len(found) > 1 and not all(SHARD.search(p.stem) for p in found):
        raise InputError(
            f"{path}: holds {len(found)} GGUF files; name one of them: "
            + ", ".join(p.name for p in found[:5])
        )
    return _checked(found[0]) if found else None


def _checked(path: Path) -> Path:
    if shard := SHARD.search(path.stem):
        whole = SHARD.sub("", path.stem) + SUFFIX
        raise InputError(
            f"{path}: is one of {int(shard[1])} parts; join them first: llama-gguf-split --merge "
            f"{path.name} {whole}"
        )
    check_pointer(path)
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise InputError(f"{path}: is no GGUF file: it does not begin with the letters GGUF")
    if importlib.util.find_spec("gguf") is None:
        raise InputError(
            f"{path}: reading GGUF needs a package: pip install 'objective-advisor[gguf]', or pip "
            "install gguf"
        )
    return path


def arguments(file: Path | None) -> dict[str, Any]:
    """What `from_pretrained` needs for a GGUF file beside its folder; nothing for another model."""
    return {} if file is None else {"gguf_file": file.name}


def names(file: Path | None) -> list[str]:
    """What a GGUF file is called, by its name and by what it says of itself; none for another model."""
    return [] if file is None else [file.stem, facts(file)["name"]]


def loading() -> dict[str, Any]:
    """What the weights need: unpacked, also where kernels would compute with the packed ones."""
    from transformers import GgufConfig

    return {"quantization_config": GgufConfig(dequantize=True)}


def unpacked(model: Any) -> None:
    """Take the marks of a quantised model away: its weights are plain numbers now."""
    model.is_quantized = False
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def own_vocabulary(tokenizer: Any, file: Path) -> None:
    """Take away tokens that the file does not have: transformers adds GPT-2's to every byte-level one.

    The model has no row for them, and a text that spells one would end in an index error.
    """
    size = read_metadata(file)["tokenizer.ggml.tokens"]
    if max(tokenizer.get_vocab().values()) < size:
        return
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    written["added_tokens"] = [t for t in written["added_tokens"] if t["id"] < size]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(written))


def read_metadata(file: Path) -> dict[str, Any]:
    """The file's keys; a list of texts as its length.

    Raises:
        InputError: A damaged file.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata

    try:
        return dict(read_gguf_metadata(str(file))[0])
    except Exception as error:  # a cut file may fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{file}: is damaged ({reason[:200]}); copy it again") from error


def facts(file: Path) -> dict[str, str]:
    """What the file says of itself: `name`, `source` (address of the model it was made from)."""
    metadata = read_metadata(file)
    source = ("general.base_model.0.repo_url", "general.source.url", "general.repo_url")
    address = next((metadata[key] for key in source if metadata.get(key)), "")
    name = metadata.get("general.name") or metadata.get("general.basename") or ""
    return {"name": str(name), "source": str(address)}


def notes(file: Path) -> tuple[str, ...]:
    """What is measured, in a sentence."""
    return (
        f"{file.name} is a GGUF file: its weights are unpacked, and what is measured is the model as it "
        "was rounded for that file.",
    )


def refuse(model: str, command: str) -> None:
    """Refuse to train from a GGUF file, and say how to get a checkpoint that can be trained."""
    path = Path(model).expanduser()
    file = find(path)
    if file is None:
        return
    said = facts(file)
    origin = said["source"] or said["name"]
    known = f" (it names {json.dumps(origin, ensure_ascii=False)})" if origin else ""
    raise InputError(
        f"{model}: is a GGUF file, rounded for use, and {command} needs a checkpoint to train: give "
        f"the folder or hub id of the model that it was made from{known}, with *.safetensors weights; "
        "recommend and validate read GGUF files"
    )
