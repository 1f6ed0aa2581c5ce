"""The stated probability that a picture fits no class, on eleven sets, of which some have pictures of other classes.

A part of `tests.benchmarks.findings`. Pictures of other classes get a random label of the set. A picture is named if
its probability is 0.5 or higher.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import audit
from tests.benchmarks.pictures import files_of, read

SEED, LIKELY = 0, 0.5
Pictures = list[Image.Image]


@dataclass(frozen=True)
class Labelled:
    """Pictures with labels, and what is known of them.

    Attributes:
        name: of the set.
        pictures: n of them.
        labels: (n,) given.
        off: bool (n,), fits no class.
        wrong: bool (n,), the label is wrong for any reason; None where nobody looked.
    """

    name: str
    pictures: Pictures
    labels: np.ndarray
    off: np.ndarray
    wrong: np.ndarray | None = None


def clean(name: str, pictures: Pictures, labels: np.ndarray, wrong: np.ndarray | None = None) -> Labelled:
    """Pictures of which each shows a class."""
    return Labelled(name, pictures, labels, np.zeros(len(labels), dtype=bool), wrong)


def mixed(name: str, own: Labelled, others: Pictures, random: np.random.Generator) -> Labelled:
    """The pictures of a set, and others with random labels of it."""
    labels = np.concatenate([own.labels, random.choice(np.unique(own.labels), len(others))])
    off = np.arange(len(labels)) >= len(own.labels)
    return Labelled(name, own.pictures + others, labels, off)


def some(rows: np.ndarray, count: int, pictures: Pictures, random: np.random.Generator) -> tuple[np.ndarray, Pictures]:
    """Rows drawn from some, and their pictures."""
    drawn = random.choice(rows, count, replace=False)
    return drawn, [pictures[row] for row in drawn]


def sets() -> Iterator[Labelled]:
    """Eleven sets, some of them with pictures of other classes."""
    random = np.random.default_rng(SEED)
    tiny, tiny_table = read("tiny-imagenet-20")
    tiny_labels = tiny_table["label"].to_numpy()
    everything = np.arange(len(tiny))
    pictures, table = read("tiny-imagenet-tables-boats")
    tables = clean("tables-boats", pictures, table["label"].to_numpy())
    yield tables
    yield mixed("tables-boats with pictures of other classes", tables, some(everything, 300, tiny, random)[1], random)
    ten = np.isin(tiny_labels, np.unique(tiny_labels)[::2])
    rows, pictures = some(np.flatnonzero(ten), 3000, tiny, random)
    halved = clean("ten classes of tiny-imagenet-20", pictures, tiny_labels[rows])
    yield halved
    others = some(np.flatnonzero(~ten), 200, tiny, random)[1]
    yield mixed("ten classes of tiny-imagenet-20 with pictures of the other ten", halved, others, random)
    yield from _of_cifar(tiny, random)
    yield from _of_digits(random)
    numerals, reviewed = read("roman-numeral")
    off = (reviewed["true_label"] == "none of them").to_numpy()
    yield Labelled("roman-numeral", numerals, reviewed["label"].to_numpy(), off, reviewed["wrong"].to_numpy())


def _of_cifar(tiny: Pictures, random: np.random.Generator) -> Iterator[Labelled]:
    cifar, table = read("cifar10n-dev")
    labels, by_people = table["label"].to_numpy(), table["aggre_label"].to_numpy()
    rows, pictures = some(np.arange(len(cifar)), 3000, cifar, random)
    own = clean("CIFAR-10", pictures, labels[rows])
    yield own
    others = [picture.resize((32, 32)) for picture in some(np.arange(len(tiny)), 150, tiny, random)[1]]
    yield mixed("CIFAR-10 with pictures of tiny-imagenet-20", own, others, random)
    rows, pictures = some(np.setdiff1d(np.arange(len(cifar)), rows), 3000, cifar, random)
    yield clean("CIFAR-10 with people's labels", pictures, by_people[rows], labels[rows] != by_people[rows])
    six = np.isin(labels, [0, 1, 3, 5, 7, 8])
    rows, pictures = some(np.flatnonzero(six), 2500, cifar, random)
    others = some(np.flatnonzero(~six), 125, cifar, random)[1]
    own = clean("six classes of CIFAR-10", pictures, labels[rows])
    yield mixed("six classes of CIFAR-10 with pictures of the other four", own, others, random)


def _of_digits(random: np.random.Generator) -> Iterator[Labelled]:
    digits = load_digits()
    shades = (digits.images * 15.9).astype(np.uint8)
    pictures = [Image.fromarray(picture).resize((32, 32)).convert("RGB") for picture in shades]
    eight = np.flatnonzero(digits.target < 8)
    own = clean("eight digits", [pictures[row] for row in eight], digits.target[eight])
    yield own
    others = some(np.flatnonzero(digits.target >= 8), 60, pictures, random)[1]
    yield mixed("eight digits with the other two", own, others, random)


def measure_probabilities(folder: Path) -> dict[str, dict[str, float]]:
    """For each set: how many pictures are named, how many of these are right, and what is stated of them."""
    measured: dict[str, dict[str, float]] = {}
    for number, given in enumerate(sets()):
        (folder / str(number)).mkdir()
        paths = files_of(given.pictures, folder / str(number))
        samples = audit.Samples(paths, paths, [str(label) for label in given.labels])
        config = audit.AuditConfig(weights="bundled", device="cpu", findings="off-topic")
        probability = audit.audit_images(samples, config).scores["fits_no_class"].reindex(paths).to_numpy()
        measured[given.name] = described(probability, given.off, given.wrong)
        print(given.name, measured[given.name], flush=True)
    return measured | {"all": in_all(measured)}


def described(probability: np.ndarray, off: np.ndarray, wrong: np.ndarray | None = None) -> dict[str, float]:
    """Counts of pictures, and the sums of the probabilities of those that are named, and of all."""
    known = ~np.isnan(probability)
    named = known & (probability >= LIKELY)
    found = {
        "pictures": int(known.sum()),
        "fit no class": int(off[known].sum()),
        "named": int(named.sum()),
        "right": int(off[named].sum()),
        "stated": round(float(probability[named].sum()), 2),
        "sum": round(float(probability[known].sum()), 2),
    }
    return found if wrong is None else found | {"named and wrong for any reason": int(wrong[named].sum())}


def in_all(measured: dict[str, dict[str, float]]) -> dict[str, float]:
    """The sums over all sets, over those that have pictures that fit no class, and over those that have none."""
    with_any = [row for row in measured.values() if row["fit no class"]]
    without = [row for row in measured.values() if not row["fit no class"]]

    def total(rows: Iterable[dict[str, float]], name: str) -> float:
        return round(sum(row[name] for row in rows), 2)

    return {
        "named": total(measured.values(), "named"),
        "right": total(measured.values(), "right"),
        "stated": total(measured.values(), "stated"),
        "named where there are any": total(with_any, "named"),
        "named where there are none": total(without, "named"),
        "pictures where there are none": total(without, "pictures"),
    }


def as_table(measured: dict[str, dict[str, float]]) -> str:
    """The table of docs/benchmarks.md."""

    def share(part: float, whole: float) -> str:
        return f"{100 * part / whole:.0f} %" if whole else ""

    rows = [
        f"| {name} | {row['pictures']} | {row['fit no class']} | {row['named']} | "
        f"{share(row['right'], row['named'])} | {share(row['stated'], row['named'])} | {row['sum']:.0f} |"
        for name, row in sorted(measured.items(), key=lambda item: not item[1].get("fit no class"))
        if "pictures" in row
    ]
    head = "| data | pictures | fit no class | named | right of these | stated | sum of all probabilities |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])
