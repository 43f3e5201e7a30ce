"""Dictionary files: what is read, and the error for what cannot be."""

from __future__ import annotations

import pytest
from fairseq.data import Dictionary

from summarymixing_fairseq.data.dictionary import load_dictionary
from summarymixing_fairseq.system.errors import InputError


@pytest.mark.parametrize("special", [True, False])
def test_what_fairseq_reads(tmp_path, special):
    path = tmp_path / "dict.ltr.txt"
    path.write_text("A 3\nÜ 2\n| 9\nA 5 #fairseq:overwrite\n", encoding="utf-8")
    assert load_dictionary(path, special).indices == Dictionary.load(str(path), special).indices


@pytest.mark.parametrize(
    "content, message",
    [
        (None, r"dict\.txt cannot be read: No such file"),
        (b"\xe9 1\n", r"dict\.txt is not UTF-8 text"),
        (b"A\n", r"dict\.txt cannot be read: Incorrect dictionary format"),
        (b"A 1\nA 1\n", r"dict\.txt cannot be read: Duplicate word found when loading Dictionary: 'A'$"),
        (b"<s> 1\n", r"Duplicate word found when loading Dictionary: '<s>'$"),
        (b"A " + b"9" * 5000 + b"\n", r"dict\.txt cannot be read: Incorrect dictionary format"),
    ],
)
def test_refusals(tmp_path, content, message):
    if content is not None:
        (tmp_path / "dict.txt").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        load_dictionary(tmp_path / "dict.txt")
    assert "\n" not in str(error.value)
