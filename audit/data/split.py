"""The split: the samples that the head is trained on, tuned on and measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from audit.config import SPLITS, AuditConfig
from audit.errors import InputError
from audit.progress import Stages


def split_samples(labels: np.ndarray, splits: Any, config: AuditConfig) -> np.ndarray:
    """The split (n,) of labelled samples: their own where given or asked for, else a seeded stratified one."""
    sizes = (config.train_size, config.validation_size, config.test_size)
    if splits is not None or config.use_splits:
        return own_split(splits, labels, sizes, config.seed)
    return stratified_split(labels, sizes, config.seed)


def note_trust(split: np.ndarray, own: Any, config: AuditConfig, stages: Stages) -> None:
    """Note that trusted validation samples were drawn at random; injected mislabels do not touch them."""
    if config.validation_trusted and not config.inject and (own is None or "validation" not in set(own)):
        stages.note(
            "split",
            f"the labels of {(split == 'validation').sum()} randomly drawn validation samples are treated as correct "
            "(--validation-trusted), so none of them is flagged; to trust only samples that you have checked, put "
            "them into a validation split of your own (--use-splits, or validation= from Python)",
        )


def stratified_split(labels: np.ndarray, sizes: tuple[float, float, float], seed: int) -> np.ndarray:
    """Assign every sample to 'train', 'validation' or 'test', class by class.

    Args:
        labels: (n,) with at least 3 samples a class.
        sizes: shares of train, validation and test, adding up to 1.
        seed: of the shuffle within each class.

    Returns:
        (n,) of strings. Each class has at least one sample in each split, and otherwise its shares to the nearest one.
    """
    rng = np.random.default_rng(seed)
    split = np.empty(len(labels), dtype=object)
    _, numbers = np.unique(labels, return_inverse=True)
    by_class = np.argsort(numbers, kind="stable")
    for members in np.split(by_class, np.bincount(numbers).cumsum()[:-1]):
        rows = rng.permutation(members)
        held_out = [max(1, round(size * len(rows))) for size in sizes[1:]]
        validation, test = (min(k, (len(rows) - 1) // 2) for k in held_out)
        split[rows[:validation]] = "validation"
        split[rows[validation : validation + test]] = "test"
        split[rows[validation + test :]] = "train"
    return split


def own_split(
    splits: Sequence[str | None] | None, labels: np.ndarray, sizes: tuple[float, float, float], seed: int
) -> np.ndarray:
    """The dataset's own splits; those that it lacks are taken from its train split, stratified.

    Raises:
        InputError: if a sample has no split, or there are no training samples.
    """
    if splits is None or not any(splits):
        raise InputError("the dataset has no train / validation / test splits of its own; leave out --use-splits")
    unknown = sum(s not in SPLITS for s in splits)
    if unknown:
        raise InputError(
            f"{unknown} of {len(splits)} samples are in no train, validation or test split; leave out --use-splits"
        )
    split = np.array(splits, dtype=object)
    missing = [name for name in SPLITS[1:] if not (split == name).any()]
    train = np.flatnonzero(split == "train")
    if not len(train):
        raise InputError("the dataset's own splits hold no training samples; leave out --use-splits")
    if missing:
        shares = {name: size for name, size in zip(SPLITS, sizes, strict=True) if name == "train" or name in missing}
        fresh = stratified_split(labels[train], sizes, seed)
        for name in missing:
            split[train[fresh == name]] = name
        if not (split == "train").any():
            raise InputError(
                f"the train split is too small to take {', '.join(shares)} from it; leave out --use-splits"
            )
    absent = set(labels) - set(labels[split == "train"])
    if absent:
        raise InputError(
            f"class {sorted(absent)[0]!r} has no training sample in the dataset's own splits; leave out --use-splits"
        )
    return split


def check_validation(labels: np.ndarray, splits: np.ndarray) -> None:
    """Refuse separate validation samples that are too few, or of a class without other samples.

    Args:
        labels: (n,) of the samples that are audited.
        splits: (n,) of 'train' and 'validation'.

    Raises:
        InputError: if fewer than two are for validation, or one is of a class that has no other samples.
    """
    held_out = splits == "validation"
    if held_out.sum() < 2:
        raise InputError(
            f"{int(held_out.sum())} validation sample(s) can be audited; give two or more of the classes of x, or "
            "leave out validation to have some drawn"
        )
    unseen = np.setdiff1d(labels[held_out], labels[~held_out])
    if len(unseen):
        raise InputError(
            f"validation has class {unseen.tolist()[0]!r}, and x has no sample of it; add samples to x, or leave the "
            "class out of validation"
        )
