"""Class names that are probably one class are told apart even where they are printed alike."""

from __future__ import annotations

import unicodedata

import pytest

from audit.data.class_names import doubtful_names


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["café", unicodedata.normalize("NFD", "café")], ["(U+00E9)", "(U+0065 U+0301)"]),
        (["cat", "c\u0430t"], ["'cat' (U+0061)", "(U+0430)"]),
        (["OX", "\u041e\u03a7"], ["'OX' (U+004F U+0058)", "(U+041E U+03A7)"]),
        (["tea-cup", "tea\u2013cup"], ["(U+002D)", "(U+2013)"]),
        (["cat", "cat\u200b"], ["'cat' and", r"'cat\u200b'"]),
        (["cat", "\ufeffcat"], ["'cat' and", r"'\ufeffcat'"]),
        (["cat", "cat "], ["'cat' and 'cat '"]),
        (["cat", "cat\u00a0"], ["'cat' and", r"'cat\xa0'"]),
        (["Three", "three"], ["'Three' and 'three'"]),
    ],
)
def test_names_that_are_printed_alike_are_told_apart(names: list[str], told: list[str]) -> None:
    (sentence,) = doubtful_names(names)
    assert all(part in sentence for part in told)
    assert sentence.endswith("are probably one class")


def test_names_of_different_classes_are_not_doubtful() -> None:
    assert doubtful_names(["cat", "cart", "кот", "собака", "1", "l", "café", "cafe"]) == []
