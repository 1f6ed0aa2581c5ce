"""What the names of folders say about splits: Training, seg_train, val2017, trainset, hold-out, fold3."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

LAYOUTS = ("folders", "splits")
"""What folders of images may be: classes, or splits with classes inside."""

_SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(
        ("val", "valid", "validate", "validation", "vali", "dev", "devel", "development", "eval", "evaluation"),
        "validation",
    ),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), "test"),
}
_ADDED = (
    "set sets data dataset datasets daten image images img imgs pic pics picture pictures photo photos jpg jpeg png "
    "file files folder folders dir split splits sample samples crop crops cropped resized small full final new the all "
    "labeled labelled"
)
_ADDED_WORDS = frozenset(_ADDED.split())
"""Words that are added to a split's name and say nothing more."""

_PART = re.compile(r"(fold|batch|subset|split|chunk|shard|cv)[ _-]?(\d+|[a-z])", re.I)
_BESIDE = (
    "annotation annotations label labels mask masks doc docs documentation figure figures fig figs asset assets "
    "example examples demo demos screenshot screenshots readme meta metadata misc pred preds predict prediction "
    "predictions submission submissions unlabeled unlabelled unsup unsupervised thumbnails thumbs logs log output "
    "outputs runs checkpoints models code src notebooks scripts"
)
_BESIDE_WORDS = frozenset(_BESIDE.split())


class SplitName(NamedTuple):
    """What a folder's name says.

    Args:
        split: 'train', 'validation', 'test', or None for a part such as fold3.
        other_words: its words that belong to no split's name; () where the whole name is that of a split.
    """

    split: str | None
    other_words: tuple[str, ...] = ()


def split_names(names: Iterable[str]) -> dict[str, SplitName]:
    """The names that are those of splits.

    A name with a word more, such as seg_train, counts where another name has the same word: seg_test.
    """
    read = {name: found for name in names if (found := _read(name)) is not None}
    alike: dict[tuple[str, ...], set[str | None]] = defaultdict(set)
    for found in read.values():
        alike[found.other_words].add(found.split)
    return {name: found for name, found in read.items() if not found.other_words or len(alike[found.other_words]) > 1}


def split_said_by(name: str) -> str | None:
    """The split that one name says, whatever its other words are; None where it says none."""
    found = _read(name)
    return None if found is None else found.split


def lies_beside(name: str) -> bool:
    """Whether a folder's name is one that people give to what lies beside their images: annotations, docs, seg_pred."""
    words = _words(name)
    return bool(words) and (words[0] in _BESIDE_WORDS or words[-1] in _BESIDE_WORDS)


def _read(name: str) -> SplitName | None:
    if _PART.fullmatch(name):
        return SplitName(None)
    splits, others = [], []
    for word in _words(name):
        if split := _split_of(word):
            splits.append(split)
        elif word not in _ADDED_WORDS and not word.isdigit() and len(word) > 1:
            others.append(word)
    return SplitName(splits[0], tuple(others)) if splits else None


def _words(name: str) -> list[str]:
    joined = re.sub(r"h(o|e)ld[ _-]?out", r"h\1ldout", name, flags=re.I)
    words = re.findall(r"[A-Z]+(?![a-z])|[^\W\d_]?[^\W\d_A-Z]+|\d+", joined)
    return [word.lower() for word in words]


def _split_of(word: str) -> str | None:
    if word in _SPLIT_OF_WORD:
        return _SPLIT_OF_WORD[word]
    for known in sorted(_SPLIT_OF_WORD, key=len, reverse=True):
        if word.startswith(known) and word.removeprefix(known) in _ADDED_WORDS | _SPLIT_OF_WORD.keys():
            return _SPLIT_OF_WORD[known]
        if word.endswith(known) and word.removesuffix(known) in _ADDED_WORDS:
            return _SPLIT_OF_WORD[known]
    return None
