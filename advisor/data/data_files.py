"""Data files as they lie on a disk: their kind, their compression, and what they are instead of data."""

import bz2
import gzip
import hashlib
import importlib
import io
import lzma
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from advisor.errors import InputError
from advisor.files import find, read_json
from advisor.names import neighbour

BUILDERS = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
COMPRESSED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
MAGIC = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0", ".zst": b"(\xb5/\xfd"}
"""How compressed files begin."""
TEXT_SUFFIXES = frozenset({".json", ".jsonl", ".csv", ".tsv"})
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
BLOCK = 2**17
"""Bytes of a file that are read at a time, up to the end of a line."""
POINTER = b"version https://git-lfs.github.com/spec/"
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt")
REMEDIES = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet; save it as csv (UTF-8)"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z"), "an archive; unpack it and name a file of it"),
    **dict.fromkeys(WEIGHTS, "weights of a model, not a dataset; the command takes MODEL DATASET"),
}
"""What files of other kinds are, and what to do with them."""
LISTED_BY = ("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
"""Keys of a dataset in LLaMA-Factory's dataset_info.json."""


def locate(source: str) -> tuple[Path, str | None]:
    """Where a dataset is, and whether a `file` or a `folder` is there; neither where it is a hub id.

    Raises:
        InputError: A path that leads nowhere; with the nearest beside it.
    """
    path, there = find(source)
    if there is None and (is_data(path) or not HUB_ID.fullmatch(source)):
        raise InputError(f"no file or folder {source}{nearest(path)}")
    return path, there


def nearest(path: Path) -> str:
    """A hint at the most similar name in the same folder."""
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    near = neighbour(path)
    return f"; {near}" if near else ""


def kind_of(path: Path) -> tuple[str, str | None]:
    """The suffix that names the kind of file, and that of its compression: `.csv` and `.gz`."""
    suffix = path.suffix.lower()
    return (Path(path.stem).suffix.lower(), suffix) if suffix in COMPRESSED else (suffix, None)


def is_data(path: Path) -> bool:
    """Whether a file's name is that of data."""
    return kind_of(path)[0] in BUILDERS


def fingerprint(path: Path) -> str:
    """Hash of the content of a file, or of a folder's data files."""
    digest = hashlib.sha256()
    for file in data_files_of(path) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return "sha256:" + digest.hexdigest()[:16]


def data_files_of(folder: Path) -> list[Path]:
    """The data files in a folder and the folders within, in the order of their paths; no hidden ones.

    Notebooks, Git and systems keep copies of files where a name begins with `.` or `__`.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if is_data(path) and path.is_file() and not _is_hidden(path.relative_to(folder))
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.parts)


def builder_of(path: Path) -> str:
    """The kind of data in a file.

    Raises:
        InputError: Another kind of file; with what it is, where that is known.
    """
    suffix, compression = kind_of(path)
    if suffix in BUILDERS and not (compression and suffix not in TEXT_SUFFIXES):
        return BUILDERS[suffix]
    if suffix in BUILDERS:
        raise InputError(f"{path}: only text is read compressed; unpack this {suffix[1:]} file")
    if what := REMEDIES.get(path.suffix.lower()):
        raise InputError(f"{path}: is {what}")
    raise InputError(
        f"{path}: unknown file type {suffix or '(none)'}; known are {', '.join(BUILDERS)}, "
        f"and of the text files {', '.join(COMPRESSED)} as well"
    )


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked.

    Raises:
        InputError: A pointer of Git LFS, a package that is missing, or a damaged compressed file.
    """
    compression = kind_of(path)[1]
    check_pointer(path)
    try:
        with _open(path, compression) as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, lzma.LZMAError) as error:
        raise InputError(_damaged(path, compression, error)) from error
    except Exception as error:
        # zlib's, zstandard's and bz2's errors have no common type.
        if compression and type(error).__name__ in ("error", "ZstdError", "OSError"):
            raise InputError(_damaged(path, compression, error)) from error
        raise


def _damaged(path: Path, compression: str | None, error: Exception) -> str:
    kind = COMPRESSED.get(compression or "", "a file")
    return f"{path} cannot be read as {kind} ({' '.join(str(error).split())}); copy it again"


def _open(path: Path, compression: str | None) -> IO[bytes]:
    if compression == ".zst":
        try:
            zstandard = importlib.import_module("zstandard")
        except ImportError as error:
            raise InputError(
                f"{path} is packed with zstd, which needs a package: pip install zstandard, or "
                f"unpack it: unzstd {path.name}"
            ) from error
        return io.BytesIO(_unpacked(zstandard, path.read_bytes()))
    if compression is None:
        return path.open("rb")
    opener: Any = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[compression]
    return cast(IO[bytes], opener.open(path, "rb"))


def _unpacked(zstandard: Any, packed: bytes) -> bytes:
    """The content of every frame; its own stream ends without a word where a file is cut off."""
    parts = []
    while packed:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(packed))
        if not frame.eof:
            raise EOFError("it is cut off")
        packed = frame.unused_data
    return b"".join(parts)


def check_pointer(path: Path) -> None:
    """Refuse what Git LFS left in the place of a file."""
    with path.open("rb") as stream:
        start = stream.read(200)
    if start.startswith(POINTER):
        size = re.search(rb"size (\d+)", start)
        of = f" of {int(size[1]):,} bytes" if size else ""
        raise InputError(
            f"{path} is not the file itself but Git LFS's pointer to one{of}: fetch it with git lfs "
            "pull in its repository, or hf download"
        )


def read_text(path: Path) -> str:
    """The text of a file, unpacked, without its byte order mark; `check_file` saw that it is UTF-8."""
    with opened(path) as stream:
        return stream.read().decode("utf-8-sig")


def check_file(path: Path) -> None:
    """Refuse an empty file and text that is not UTF-8, naming the line."""
    if not path.stat().st_size:
        raise InputError(f"{path} is empty")
    check_pointer(path)
    if kind_of(path)[0] not in TEXT_SUFFIXES:
        return
    blank, number = True, 1
    with opened(path) as stream:
        for block in line_blocks(stream):
            try:
                text = block.decode()
            except UnicodeDecodeError as error:
                start = block.rfind(b"\n", 0, error.start) + 1
                number += block.count(b"\n", 0, start)
                raise InputError(
                    _not_utf8(path, number, block[start:], error.start - start)
                ) from error
            blank = blank and not text.strip("\ufeff \t\r\n")
            number += block.count(b"\n")
    if blank:
        raise InputError(f"{path} is empty")


def line_blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a stream in blocks that end where lines do."""
    while block := stream.read(BLOCK):
        yield block if block.endswith(b"\n") else block + stream.readline()


def _not_utf8(path: Path, number: int, line: bytes, place: int) -> str:
    packed = next((s for s, magic in MAGIC.items() if number == 1 and line.startswith(magic)), "")
    if packed:
        return (
            f"{path} is packed with {COMPRESSED[packed]}, by its first bytes; name it "
            f"{path.name}{packed}, or unpack it"
        )
    name = "utf-16" if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
    return (
        f"{path} is not UTF-8 text: byte 0x{line[place]:02x} on line {number}, column "
        f"{place + 1}; convert it, e.g. iconv -f {name} -t utf-8 {path.name} > utf8"
        f"{path.suffix}"
    )


def check_folder(path: Path) -> None:
    """Refuse a folder that is a model, an adapter or LLaMA-Factory's list, not data."""
    if (path / "adapter_config.json").is_file():
        raise InputError(
            f"{path} is an adapter, not a dataset; the command takes MODEL DATASET, and an adapter is "
            "merged into its base before it is a MODEL"
        )
    weights = any(p.suffix in WEIGHTS for p in path.iterdir())
    if (path / "config.json").is_file() and (weights or (path / "tokenizer.json").is_file()):
        raise InputError(f"{path} is a model, not a dataset; the command takes MODEL DATASET")
    if (listing := path / "dataset_info.json").is_file():
        try:
            found = read_json(listing)
        except ValueError as error:
            raise InputError(f"{listing} is broken JSON ({error}); correct it") from error
        check_listing(found, listing)


def check_listing(found: Any, path: Path) -> None:
    """Refuse LLaMA-Factory's dataset_info.json: it says where data are, and holds none."""
    if not isinstance(found, dict) or not found:
        return
    if not all(isinstance(v, dict) and not v.keys().isdisjoint(LISTED_BY) for v in found.values()):
        return
    named = [f"{name} ({_place(entry)})" for name, entry in list(found.items())[:5]]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    raise InputError(
        f"{path} is LLaMA-Factory's list of datasets, not data; name one of them as DATASET: "
        f"{', '.join(named)}{more}. Its formatting and columns are found by themselves, else with "
        "--prompt_field and --completion_field"
    )


def _place(entry: dict[str, Any]) -> str:
    return str(next((entry[key] for key in LISTED_BY if entry.get(key)), "nowhere"))
