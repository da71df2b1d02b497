"""A causal language model and its tokenizer, from a local folder, the hub or memory, ready to be measured.

Takes a path, a hub id or a loaded model; gives a `LoadedModel` in evaluation mode, or an `InputError` for
anything whose probabilities would mean nothing: missing, unsafe, half-initialised or non-finite weights.
Log-probabilities are computed in float32 whatever the model's dtype (see `advisor/model/head.py`).
"""

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
from transformers.utils import logging as transformers_logging

from advisor.errors import InputError
from advisor.files import parse_json
from advisor.hub import hub_or_cache
from advisor.model import checkpoint, gguf
from advisor.model.device import choose_device
from advisor.model.in_memory import from_memory
from advisor.model.kind import chat_of
from advisor.model.loaded import CONTEXT_FIELDS as CONTEXT_FIELDS
from advisor.model.loaded import LoadedModel as LoadedModel
from advisor.model.loaded import context_of
from advisor.model.model_checks import (
    check_causal,
    check_finite,
    check_kernels,
    check_loading,
    check_vocabulary,
)
from advisor.model.out_of_memory import is_out_of_memory
from advisor.model.rope import BY_ROW, each_row_by_itself

DTYPES = ("float32", "bfloat16", "float16")
SMALL = 1_000_000_000  # parameters; below it float32 costs little
TINY = 2_000_000  # parameters; below it a second thread costs more than it gives
HOTTEST = 10.0  # no sampling is hotter than this; the command line's limit too
LOADING_DEFAULTS = ("auto", "auto", None, None, False, False)
"""Of `load_model`'s settings from `dtype` on: a model in memory has no others."""


def load_model(
    model: str | Path | PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | dict[str, Any] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> LoadedModel:
    """Loads a causal language model with its tokenizer, or takes a loaded one.

        loaded = load_model("path/to/model")
        loaded = load_model(model, tokenizer=tokenizer)

    Args:
        model: a local folder, a `.gguf` file, a hub id, or a transformers model in memory, which is put into
            evaluation mode and else left as it is.
        tokenizer: of a model in memory; a folder or hub id brings its own.
        dtype: of the weights: float32, bfloat16, float16, or auto: float32 where that costs little, else what
            the device computes best or the weights are stored in. Log-probabilities are float32 in any case.
        device: cpu, cuda, cuda:1, mps, or auto: the first accelerator there is.
        device_map: of accelerate, to spread a large model; excludes `device`.
        revision: of a model on the hub.
        trust_remote_code: run code that comes with the model.
        allow_pickle: read pickled weights (tensors only).

    Returns:
        Model and tokenizer with name, fingerprint, number of parameters, dtype, device and kind.

    Raises:
        InputError: the name leads to nothing, or to something whose probabilities are not a prior; a model in
            memory without its tokenizer, or with settings that only loading has.
    """
    settings = (dtype, device, device_map, revision, trust_remote_code, allow_pickle)
    if not isinstance(model, str | Path):
        return from_memory(model, tokenizer, as_loaded=settings == LOADING_DEFAULTS)
    if tokenizer is not None:
        raise InputError(
            f"{model}: a tokenizer is given beside a path, which brings its own: leave it out, or give the "
            "loaded model"
        )
    return _load(
        model,
        dtype=dtype,
        device=device,
        device_map=device_map,
        revision=revision,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )


def _load(
    name_or_path: str | Path,
    *,
    dtype: str,
    device: str,
    device_map: str | dict[str, Any] | None,
    revision: str | None,
    trust_remote_code: bool,
    allow_pickle: bool,
) -> LoadedModel:
    """From a folder, a file or the hub."""
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
        target, where = choose_device(device, device_map)
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
        *check_loading(name, info),
    ]
    check_finite(name, model)
    notes += check_vocabulary(name, model, tokenizer)
    model.requires_grad_(False).eval()
    if each_row_by_itself(model):
        notes.append(BY_ROW)
    parameters = model.num_parameters()
    if parameters < TINY and model.device.type == "cpu":
        torch.set_num_threads(1)
        notes.append("One thread: for a model under 2M parameters more threads are slower.")
    # Only configs that came from the hub carry a commit.
    commit = getattr(config, "_commit_hash", None) or "unknown"
    fingerprint, fingerprint_note = (
        checkpoint.fingerprint(folder, packed) if folder else (commit, [])
    )
    own_files = folder if not packed else None
    of_tokenizer = checkpoint.tokenizer_fingerprint(own_files) if own_files else None
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        fingerprint=fingerprint,
        tokenizer_fingerprint=of_tokenizer,
        parameters=parameters,
        dtype=str(model.dtype).removeprefix("torch."),
        dtype_chosen=dtype == "auto",
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
    source = model.name_or_path or ""  # empty: a model in memory that came from nowhere
    file = Path(source) / "generation_config.json"
    if source:
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
        parse_json(file.read_text("utf-8") if file.is_file() else "{}")
    except ValueError as error:
        raise InputError(
            f"{file}: broken JSON ({error}): correct it, remove it, or give --temperature"
        ) from error


def context_length(
    name_or_path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False
) -> int | None:
    """Longest sequence, in tokens, that the model's config speaks of; None where it names none."""
    name, folder, hub = _place(name_or_path, revision, trust_remote_code)
    with _quiet(folder):
        return context_of(_load_config(name, folder, hub))


def _load_config(name: str, folder: Path | None, hub: dict[str, Any]) -> PreTrainedConfig:
    if folder and "gguf_file" not in hub:
        checkpoint.check_config(name, folder)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder or name), **hub)
        trusted = bool(hub["trust_remote_code"])
        check_causal(name, config, trust_remote_code=trusted)
        if "gguf_file" not in hub:
            settings, _ = PreTrainedConfig.get_config_dict(str(folder or name), **hub)
            check_kernels(name, settings, trust_remote_code=trusted)
    except InputError:
        raise
    except Exception as error:  # a wrong value may raise anything
        raise checkpoint.refusal(name, error, "its config.json cannot be used") from error
    return config


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
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{name}: its pickled weights hold more than tensors, which is never loaded: "
            "convert them to safetensors where you trust them"
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise InputError(
                f"{name}: does not fit into the device's memory: give --dtype bfloat16, or to `recommend` "
                "--device_map auto"
            ) from error
        raise checkpoint.refusal(name, error, "its weights cannot be loaded") from error
    model, info = loaded
    return model, info


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
