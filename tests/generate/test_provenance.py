"""The file of outcomes: read back, and never written into where it is another's."""

from pathlib import Path

import pytest

from advisor.errors import InputError
from harness.generate.provenance import Outcome, Provenance


def test_provenance_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "provenance.jsonl"
    outcomes = [Outcome(row=4, origin="own", completion="a\u2028b"), Outcome(row=2, origin="wrong")]
    Provenance(path, {"settings": {"seed": 0}}).append(outcomes)
    assert Provenance(path, {"settings": {"seed": 0}}).outcomes == {4: outcomes[0], 2: outcomes[1]}


def test_a_file_of_an_earlier_version_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "provenance.jsonl"
    Provenance(path, {"settings": {"seed": 0}})
    with pytest.raises(InputError, match="of an earlier version, which noted no reading: give"):
        Provenance(path, {"settings": {"seed": 0}, "reading": {}})


FOREIGN = {
    "not JSON": b"text",
    "a list": b"[1]\n",
    "another object": b'{"a": 1}\n',
    "no whole line": b'{"settings": {"seed": 0}}',
    "not UTF-8": b"\xff\xfe\n",
    "no outcome": b'{"settings": {"seed": 0}}\n{"row": 1}\n{"ro',
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_another_file_in_the_place_of_the_provenance_stays_as_it_is(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "new.provenance.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no provenance|no row's outcome"):
        Provenance(path, {"settings": {"seed": 0}})
    assert path.read_bytes() == content
    with pytest.raises(InputError, match="cannot be read"):
        Provenance(tmp_path, {})
