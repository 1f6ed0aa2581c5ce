"""Whether what an audit claims is true, on the development data: `python -m tests.benchmarks.claims`.

INFLUENCE_AUDIT_DATA names their folder. `influence-audit benchmark --claims` measures the same on any source; here
labels by people are added, whose mistakes are known.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from integrations.benchmark import (
    PEOPLE,
    Case,
    Claims,
    GroupedCase,
    Reviewed,
    claim_cases,
    claims_markdown,
    labelled_samples,
    measure_claims,
    relabelled_cases,
)
from integrations.benchmark.claims import Interval
from integrations.sources import resolve_source
from tests.benchmarks.data import data_folder, data_set
from tests.benchmarks.detection import Embed, bundled, efficientnet
from tests.benchmarks.influence import described, machine

HERE = Path(__file__).parent
SOURCES = ("digits", "tiny-imagenet-tables-boats", "tiny-imagenet-20", "cifar10n-dev")
COLUMNS = ("aggre_label", "random_label1", "random_label2", "random_label3", "worse_label")
FEW = 1500  # rows of people's labels, as of a first try
INTRODUCTION = """# Whether what an audit claims is true

Made by `python -m tests.benchmarks.claims` on the development data, seed(s) {seeds}, {reviews} simulated reviews an
audit. Groups: *clean*: labels as they are, taken as right; *injected*: mislabels added to these (uniform, and to the
nearest class); *by people*: labels by people whose mistakes are known (CIFAR-10N, roman-numeral); *few samples*: 20 to
500 samples of 2 to 16 classes, clean and with 10 % injected. A backbone that a call leaves out keeps its rows."""


def cases(embed: Embed, seeds: list[int]) -> Iterator[GroupedCase]:
    """All cases of the development data."""
    for name in SOURCES:
        samples = labelled_samples(resolve_source(name if name == "digits" else str(data_set(name))))
        x, labels = embed(samples), np.array(samples.labels)
        yield from claim_cases(name, x, labels, seeds)
        if name == "cifar10n-dev":
            for column in COLUMNS:
                given = np.array(labelled_samples(resolve_source(str(data_set(name)), label_column=column)).labels)
                for case in relabelled_cases(f"{name}, {column}", x, labels, given, seeds):
                    yield GroupedCase(PEOPLE, case)
                yield GroupedCase(PEOPLE, first_rows(f"{name}, {column}", x, labels, given))
    samples = labelled_samples(resolve_source(str(data_set("roman-numeral"))))
    classes, given = np.unique(samples.labels, return_inverse=True)
    # Where a picture is of no class, its true label is not among the classes: any other number stands for it.
    wrong = pd.read_parquet(data_set("roman-numeral") / "train.parquet")["wrong"].to_numpy()
    for seed in seeds:
        true = np.where(wrong, -1, given)
        yield GroupedCase(PEOPLE, Case("roman-numeral", seed, embed(samples), given, true, len(classes)))


def first_rows(name: str, x: np.ndarray, true: np.ndarray, given: np.ndarray) -> Case:
    """The first rows, some of whose given classes are no picture's true class."""
    classes, numbers = np.unique(np.concatenate([true[:FEW], given[:FEW]]), return_inverse=True)
    return Case(f"{name}, first {FEW}", 0, x[:FEW], numbers[FEW:], numbers[:FEW], len(classes))


def main() -> None:
    """Measure all cases, and write claims.json and claims.md after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--reviews", type=int, default=100)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--efficientnet", action="store_true", help="add seed 0 with EfficientNet-Lite0")
    parser.add_argument("--ranges-only", action="store_true", help="keep the reviews of claims.json; give their number")
    chosen = parser.parse_args()
    data_folder()  # ends here where it is missing
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    backbones = [(bundled(), seeds), *([(efficientnet(), [0])] if chosen.efficientnet else [])]
    intro = INTRODUCTION.format(seeds=chosen.seeds, reviews=chosen.reviews)
    where, stored = machine(), stored_claims()
    measured = stored | {title: list[Claims]() for (title, _), _ in backbones}
    reviewed = reviews_of(stored) if chosen.ranges_only else None
    for (title, embed), of_seeds in backbones:
        for grouped in cases(embed, of_seeds):
            last = measure_claims([grouped], 0 if chosen.ranges_only else chosen.reviews)[0]
            if reviewed is not None:
                kept = reviewed.get((title, last.group, last.case, last.seed, last.flagged))
                last = replace(
                    last, reviewed=measure_claims([grouped], chosen.reviews)[0].reviewed if kept is None else kept
                )
            measured[title].append(last)
            print(last.group, last.case, last.mistakes, last.precision, flush=True)
            write(intro, measured, where)


def stored_claims() -> dict[str, list[Claims]]:
    """What claims.json has, by backbone."""
    stored = json.loads((HERE / "claims.json").read_text())["claims"]
    return {title: [_claim(**each) for each in claims] for title, claims in stored.items()}


def _claim(
    mistakes: dict[str, float], precision: dict[str, float] | None, reviewed: list[dict[str, Any]], **others: Any
) -> Claims:
    return Claims(
        mistakes=Interval(**mistakes),
        precision=None if precision is None else Interval(**precision),
        reviewed=tuple(Reviewed(**review) for review in reviewed),
        **others,
    )


def reviews_of(stored: dict[str, list[Claims]]) -> dict[tuple[str, str, str, int, int], tuple[Reviewed, ...]]:
    """The reviews of stored claims, by backbone, group, case, seed and number of flags.

    A review depends on suspicions and flags alone. Where another number is flagged by now, it is made again.
    """
    return {
        (title, claim.group, claim.case, claim.seed, claim.flagged): claim.reviewed
        for title, claims in stored.items()
        for claim in claims
    }


def write(introduction: str, measured: dict[str, list[Claims]], where: dict[str, Any]) -> None:
    """Write what is measured so far."""
    kept = {title: [asdict(claim) for claim in claims] for title, claims in measured.items()}
    (HERE / "claims.json").write_text(json.dumps({"claims": kept, "machine": where}) + "\n")
    sections = [f"## {title}\n\n{claims_markdown(claims).rstrip()}" for title, claims in measured.items() if claims]
    (HERE / "claims.md").write_text("\n\n".join([introduction, *sections, described(where)]) + "\n")


if __name__ == "__main__":
    main()
