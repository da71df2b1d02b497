"""A causal language model and its tokenizer, from a local folder or the hub, ready to be measured.

Takes a path or a hub id; gives a `LoadedModel` in evaluation mode, or an `InputError` for anything
whose probabilities would mean nothing: missing, unsafe, half-initialised or non-finite weights.
Log-probabilities are computed in float32 whatever the model's dtype (see `advisor/model/head.py`).
"""

import json
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.utils import logging as transformers_logging

from advisor.errors import InputError
from advisor.hub import hub_or_cache
from advisor.model import checkpoint, gguf
from advisor.model.kind import chat_of
from advisor.model.rope import each_row_by_itself

DTYPES = ("float32", "bfloat16", "float16")
SMALL = 1_000_000_000  # parameters; below it float32 costs little
CONTEXT_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "seq_length",
    "context_length",
)
TINY = 2_000_000  # parameters; below it a second thread costs more than it gives
HOTTEST = 10.0  # no sampling is hotter than this; the command line's limit too


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer and what was decided while loading."""

    model: PreTrainedModel
    """On its device, without gradients."""
    tokenizer: PreTrainedTokenizerBase
    name: str
    """As the user gave it: path or hub id."""
    fingerprint: str
    """Local folder: 16 hexadecimal digits over weights and config; hub id: the commit."""
    parameters: int
    """Tied parameters counted once."""
    dtype: str
    """Of the weights: float32, bfloat16 or float16."""
    device: str
    """Where the inputs go: cpu, cuda:0, ..."""
    kind: str
    """base, instruct or unknown; see `advisor/model/kind.py`."""
    notes: tuple[str, ...]
    """What was chosen or assumed, one sentence each."""


def load_model(
    name_or_path: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | dict[str, Any] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> LoadedModel:
    """Loads a causal language model with its tokenizer.

    Raises:
        InputError: the name leads to nothing, or to something whose probabilities are not a prior.
    """
    name, folder, hub = _place(name_or_path, revision, trust_remote_code)
    packed = _gguf_of(folder, hub)
    with _quiet(folder):
        config = _load_config(name, folder, hub)
        # On the hub, None prefers safetensors and falls back on what the user allowed.
        safe: bool | None = None if allow_pickle else True
        if folder and not packed:
            safe = not checkpoint.is_pickled(name, folder, allow_pickle=allow_pickle)
            checkpoint.check_weight_files(folder)
        tokenizer = _load_tokenizer(name, folder, hub)
        target, where = _choose_device(device, device_map)
        small = dtype == "auto" and _is_small(name, config, trust_remote_code)
        torch_dtype, why = _choose_dtype(dtype, config, target, small=small)
        placing = device_map or (None if target == "cpu" else {"": target})
        arguments = {"dtype": torch_dtype, "device_map": placing, "use_safetensors": safe, **hub}
        arguments |= gguf.loading() if packed else {}
        model, info = _load_weights(name, folder, arguments)
        chat = chat_of(tokenizer, model.generation_config)
        kind, kind_note = checkpoint.kind(name, folder, chat, named=gguf.names(packed))
    if packed:
        gguf.unpacked(model)
    notes = [
        where,
        why,
        *(gguf.notes(packed) if packed else ()),
        *_check_weights(name, model, info),
    ]
    notes += _check_vocabulary(name, model, tokenizer)
    model.requires_grad_(False).eval()
    if each_row_by_itself(model):
        notes.append(
            "Its rotary positions depend on the length of a row: of each by itself, not of a batch."
        )
    parameters = model.num_parameters()
    if parameters < TINY and model.device.type == "cpu":
        torch.set_num_threads(1)
        notes.append("One thread: for a model under 2M parameters more threads are slower.")
    # Only configs that came from the hub carry a commit.
    commit = getattr(config, "_commit_hash", None) or "unknown"
    fingerprint, fingerprint_note = (
        checkpoint.fingerprint(folder, packed) if folder else (commit, [])
    )
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        fingerprint=fingerprint,
        parameters=parameters,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        kind=kind,
        notes=(*notes, kind_note, *fingerprint_note),
    )


def load_tokenizer(
    name_or_path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Loads the tokenizer that belongs to a model; raises InputError where there is none."""
    name, folder, hub = _place(name_or_path, revision, trust_remote_code)
    with _quiet(folder):
        return _load_tokenizer(name, folder, hub)


def _place(
    name_or_path: str | Path, revision: str | None, trust_remote_code: bool
) -> tuple[str, Path | None, dict[str, Any]]:
    """The name to show, the folder if it is one, and what every `from_pretrained` takes."""
    name, folder = checkpoint.locate(name_or_path)
    file = gguf.find(Path(name).expanduser()) if folder else None
    if file:
        gguf.read_metadata(file)  # a damaged one is said to be that
    hub = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    return name, folder, {**hub, **gguf.arguments(file)}


def _gguf_of(folder: Path | None, hub: dict[str, Any]) -> Path | None:
    return folder / hub["gguf_file"] if folder and "gguf_file" in hub else None


def _load_tokenizer(name: str, folder: Path | None, hub: dict[str, Any]) -> PreTrainedTokenizerBase:
    if folder and "gguf_file" not in hub:
        checkpoint.check_tokenizer(name, folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder or name), **hub
        )
    except Exception as error:  # the tokenizers library raises bare Exception on a broken file
        raise checkpoint.refusal(name, error, "its tokenizer cannot be read") from error
    if packed := _gguf_of(folder, hub):
        gguf.own_vocabulary(tokenizer, packed)
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise checkpoint.no_tokenizer(name)
    return tokenizer


def decoding_temperature(model: PreTrainedModel) -> tuple[float, str]:
    """The temperature that the model's own generation config decodes at (0.0: greedy), and why."""
    file = Path(model.name_or_path or ".") / "generation_config.json"
    _check_generation_config(file)
    config = model.generation_config
    if config is None or not config.do_sample or config.top_k == 1:
        return 0.0, "its generation config does not sample, so it decodes greedily"
    heat = config.temperature
    if heat is None:
        return 1.0, "its generation config samples and names no temperature, so 1.0"
    if isinstance(heat, bool) or not isinstance(heat, int | float) or not 0 <= heat <= HOTTEST:
        raise InputError(
            f"{file}: temperature {heat!r} is no number from 0 to {HOTTEST:g}: correct it, or give "
            "--temperature"
        )
    return float(heat), f"its generation config samples at temperature {heat:g}"


def _check_generation_config(file: Path) -> None:
    """Refuses a file that transformers would pass over in silence."""
    try:
        json.loads(file.read_text("utf-8") if file.is_file() else "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file}: broken JSON ({error}): correct it, remove it, or give --temperature"
        ) from error


def context_length(
    name_or_path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False
) -> int | None:
    """Longest sequence, in tokens, that the model's config speaks of; None where it names none."""
    name, folder, hub = _place(name_or_path, revision, trust_remote_code)
    with _quiet(folder):
        config = _load_config(name, folder, hub).get_text_config()
    lengths = (getattr(config, field, None) for field in CONTEXT_FIELDS)
    return next((n for n in lengths if isinstance(n, int) and n > 0), None)


def _load_config(name: str, folder: Path | None, hub: dict[str, Any]) -> PreTrainedConfig:
    if folder and "gguf_file" not in hub:
        checkpoint.check_config(name, folder)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder or name), **hub)
        _check_causal(name, config, trust_remote_code=hub["trust_remote_code"])
    except InputError:
        raise
    except Exception as error:  # a wrong value may raise anything
        raise checkpoint.refusal(name, error, "its config.json cannot be used") from error
    return config


def _check_causal(name: str, config: PreTrainedConfig, *, trust_remote_code: bool) -> None:
    """Refuses what cannot give the probability of a next token."""
    found = config.model_type
    need = "a causal language model is needed"
    if config.is_encoder_decoder:
        raise InputError(f"{name}: {found} is an encoder-decoder; {need}")
    is_decoder = getattr(config, "is_decoder", False)
    if found in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder:
        raise InputError(f"{name}: {found} is encoder-only; {need}")
    for architecture in config.architectures or []:
        if "Classification" in architecture or "QuestionAnswering" in architecture:
            raise InputError(f"{name}: {architecture} has no language-model head; {need}")
    if found in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if "AutoModelForCausalLM" not in (getattr(config, "auto_map", None) or {}):
        raise InputError(f"{name}: {found} is not a causal language model; {need}")
    if not trust_remote_code:
        raise checkpoint.code_refused(name)


def _choose_device(device: str, device_map: str | dict[str, Any] | None) -> tuple[str, str]:
    if device_map is not None:
        if device != "auto":
            raise InputError("--device and --device_map exclude each other: give one of them")
        placed = "cuda" if torch.cuda.is_available() else "cpu"
        return placed, f"Placed by device_map={device_map}."
    if device != "auto":
        try:
            torch.zeros(1, device=device).item()  # the meta device has no values
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].split(". ")[0]
            raise InputError(f"--device {device}: not usable here ({reason})") from error
        return device, f"On {device}, as asked."
    if torch.cuda.is_available():
        return "cuda", "On cuda, which this machine has."
    if torch.backends.mps.is_available():
        return "mps", "On mps, which this machine has."
    return "cpu", "On cpu: no accelerator was found."


def _is_small(name: str, config: PreTrainedConfig, trust_remote_code: bool) -> bool:
    """Whether the model that the config describes is small enough for float32."""
    try:
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # a wrong value may raise anything
        raise checkpoint.refusal(name, error, "its config.json makes no model") from error
    return bool(skeleton.num_parameters() < SMALL)


def _choose_dtype(
    dtype: str, config: PreTrainedConfig, device: str, *, small: bool
) -> tuple[torch.dtype | str, str]:
    """The dtype to load in ("auto": as stored), and the sentence that says why."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise InputError(f"--dtype {dtype}: not one of auto, {', '.join(DTYPES)}")
        return cast(torch.dtype, getattr(torch, dtype)), f"In {dtype}, as asked."
    if device.startswith("cuda") and not (small and config.dtype == torch.float32):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "In bfloat16, which this GPU computes."
        return torch.float16, "In float16: this GPU has no bfloat16."
    if small:
        return torch.float32, "In float32: under 1B parameters it costs little."
    return "auto", "In the dtype it is stored in: over 1B parameters float32 costs much memory."


def _load_weights(
    name: str, folder: Path | None, arguments: dict[str, Any]
) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder or name),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            weights_only=True,
            **arguments,
        )
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{name}: does not fit into the GPU's memory: try --device_map auto or --dtype bfloat16"
        ) from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{name}: its pickled weights hold more than tensors, which is never loaded: "
            "convert them to safetensors where you trust them"
        ) from error
    except Exception as error:
        raise checkpoint.refusal(name, error, "its weights cannot be loaded") from error
    model, info = loaded
    return model, info


def _check_weights(name: str, model: PreTrainedModel, info: dict[str, Any]) -> list[str]:
    """Refuses weights that the checkpoint did not give, or that are not finite."""
    for key, stored, wanted in sorted(info["mismatched_keys"]):
        raise InputError(
            f"{name}: {key} is {list(stored)} in the checkpoint and {list(wanted)} by config.json"
        )
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{name}: the checkpoint lacks {len(missing)} of the model's tensors (first: "
            f"{missing[0]}); random ones in their place would give a prior of nothing"
        )
    for key, tensor in model.state_dict().items():
        if not _is_finite(tensor):
            raise InputError(f"{name}: the weights hold NaN or infinity (first: {key})")
    if extra := sorted(info["unexpected_keys"]):
        return [f"{len(extra)} tensors of the checkpoint have no place in it (first: {extra[0]})."]
    return []


def _is_finite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    # torch has no isfinite for the one-byte floats.
    return bool(torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all())


def _check_vocabulary(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Refuses token ids without a row in the head; rows without a token are padding, and fine."""
    head = model.get_output_embeddings()
    rows = model.config.get_text_config().vocab_size if head is None else head.weight.shape[0]
    beyond = {token: i for token, i in tokenizer.get_vocab().items() if i >= rows}
    if not beyond:
        return []
    # Text-only versions of multimodal models keep placeholders that no text produces.
    if all(re.search("image|audio|video|vision", token) for token in beyond):
        return [f"{len(beyond)} placeholder tokens of the tokenizer have no row in the head."]
    raise InputError(
        f"{name}: the tokenizer has {max(beyond.values()) + 1} entries and the model's head {rows} "
        "rows: use the tokenizer it was trained with, or resize_token_embeddings()"
    )


@contextmanager
def _quiet(folder: Path | None) -> Iterator[None]:
    """No bars, reports or warnings of the libraries while something is loaded, no endless asking."""
    verbosity = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    hub_verbosity = huggingface_hub.logging.get_verbosity()
    huggingface_hub.logging.set_verbosity(ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), nullcontext() if folder else hub_or_cache():
            warnings.simplefilter("ignore")
            yield
    finally:
        huggingface_hub.logging.set_verbosity(hub_verbosity)
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()
