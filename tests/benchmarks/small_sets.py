"""What the audit says of 20 to 200 samples, over many seeds: `python -m tests.benchmarks.small_sets`.

Clean sets should give no certain mistake and next to no flag; where 10 % are injected, good flags.
INFLUENCE_AUDIT_DATA names the folder of the development data.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from integrations.benchmark import Claims, GroupedCase, labelled_samples, measure_claims, small_cases
from integrations.sources import resolve_source
from tests.benchmarks.claims import SOURCES
from tests.benchmarks.data import data_folder, data_set
from tests.benchmarks.detection import bundled
from tests.benchmarks.influence import described, machine

HERE = Path(__file__).parent
INTRODUCTION = """# What the audit says of few samples

Made by `python -m tests.benchmarks.small_sets` on the development data: {seeds} seeds of every size and source.
Sets of 20 to 200 samples of 2 to 6 classes, as they are (*clean*) and with 10 % of their labels made wrong.

*certain*: audits whose lower end of the number of mistakes is above 0. *holds*: share of the audits whose 95 % range
holds the real number. *F1*: mean over audits of the flags against the injected mislabels."""


def table(claims: Sequence[Claims]) -> Iterator[str]:
    """A row for every source, size and noise."""
    rows: dict[str, list[Claims]] = defaultdict(list)
    for claim in claims:
        rows[claim.case].append(claim)
    yield _row("samples", "audits", "wrong", "certain", "flagged", "mistakes: holds", "precision: holds", "F1")
    yield _row(*["---"] * 8)
    for name, of_row in rows.items():
        wrong = np.mean([claim.mistakes.real for claim in of_row])
        stated = [claim.precision.holds for claim in of_row if claim.precision]
        yield _row(
            name,
            str(len(of_row)),
            f"{wrong:.0f}",
            str(sum(claim.mistakes.low >= 1 for claim in of_row)) if wrong == 0 else "",
            f"{np.mean([claim.flagged / claim.samples for claim in of_row]):.1%}",
            f"{np.mean([claim.mistakes.holds for claim in of_row]):.2f}",
            f"{np.mean(stated):.2f}" if stated else "",
            f"{np.mean([claim.f1 for claim in of_row]):.2f}" if wrong else "",
        )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure all cases, and write small_sets.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=50)
    seeds = range(parser.parse_args().seeds)
    data_folder()  # ends here where it is missing
    where, (title, embed) = machine(), bundled()
    cases: list[GroupedCase] = []
    for name in SOURCES:
        samples = labelled_samples(resolve_source(name if name == "digits" else str(data_set(name))))
        cases += small_cases(name, embed(samples), np.array(samples.labels), seeds, sizes=(20, 60, 200))
    claims = []
    for case in cases:
        claims += measure_claims([case], reviews=0)
        print(claims[-1].case, claims[-1].seed, claims[-1].flagged, claims[-1].mistakes, flush=True)
    intro = INTRODUCTION.format(seeds=len(seeds))
    parts = [intro, f"## {title}", "\n".join(table(claims)), described(where)]
    (HERE / "small_sets.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
