"""Whether the original recipe's mislabels are found: `python -m tests.benchmarks.recipe`.

INFLUENCE_AUDIT_DATA names the folder of the development data. The recipe makes a tenth of the training labels wrong,
those of the samples that help most, and trusts the validation labels. Other mislabels are measured beside it, and
without trusted labels also what forty decisions by the truth come to.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import audit
from audit.config import RECIPES
from integrations.benchmark import labelled_samples
from integrations.sources import resolve_source
from tests.benchmarks.data import data_set
from tests.benchmarks.detection import bundled
from tests.benchmarks.influence import described, machine

PAGE = Path(__file__).with_suffix(".md")
SEEDS = range(5)
DECISIONS, DRAWS = 40, 5
ADAM = ("trainer", "epochs", "learning_rate", "damping")
ORIGINAL = RECIPES["original"]
TRUSTED = {name: value for name, value in ORIGINAL.items() if name not in ADAM}
NOT_TRUSTED = {"validation_trusted": False}
AUDITS: dict[str, dict[str, object]] = {
    "the original recipe (Adam), trusted": ORIGINAL,
    "most influential, trusted": TRUSTED,
    "uniform, trusted": TRUSTED | {"inject_strategy": "uniform"},
    "nearest class, trusted": TRUSTED | {"inject_strategy": "class-pair"},
    "the original recipe (Adam), not trusted": ORIGINAL | NOT_TRUSTED,
    "most influential, not trusted": TRUSTED | NOT_TRUSTED,
}
INTRODUCTION = """# The original recipe

Made by `python -m tests.benchmarks.recipe` on the development data ({samples} images of {classes}; {backbone}),
{machine}.

Each row is one audit with a tenth of the training labels wrong. *Trusted* means `--validation-trusted`. Precision and
recall are those of the flags, "ranking" is the average precision of the suspicion, and F1 that of the head on the test
split. The original's own figures are F1 .906 on given and .854 on corrupted labels, and mean influences of -0.41
(clean) and -13.0 (corrupted) of tables, -0.54 and -13.1 of boats. Its influence is that of the whole network,
on another scale. *After {decisions} decisions*: precision and recall of the flags that follow so many decisions by the
truth on a verification sample, means of {draws} draws and the lowest of them.
"""
COLUMNS = (
    "mislabels",
    "seed",
    "wrong",
    "estimated",
    "flags",
    "precision",
    "recall",
    "ranking",
    "F1, given labels",
    "F1, corrupted labels",
    "mean influence, clean",
    "mean influence, corrupted",
    f"precision, after {DECISIONS} decisions",
    f"recall, after {DECISIONS} decisions",
)


def measured(x: np.ndarray, labels: np.ndarray, settings: dict[str, object], seed: int) -> list[str]:
    """The figures of one audit, from its third column on."""
    result = audit.audit_embeddings(x, labels, config=audit.AuditConfig(seed=seed, **settings))  # type: ignore[arg-type]
    summary = result.summary
    found, estimates, influence = summary.detection, summary.estimates, summary.influence_by_class[-1]
    return [
        f"{found.injected}",
        f"{estimates.mistakes:.0f} ({estimates.mistakes_low:.0f} to {estimates.mistakes_high:.0f})",
        f"{summary.counts.flagged}",
        f"{found.precision:.2f}",
        f"{found.recall:.2f}",
        f"{found.average_precision:.3f}",
        f"{summary.heads.given.test.f1:.3f}",
        f"{summary.heads.corrupted.test.f1:.3f}",
        f"{influence.clean:+.2f}",
        f"{influence.corrupted:+.2f}",
        *(("", "") if settings["validation_trusted"] else after_decisions(result)),
    ]


def after_decisions(result: audit.AuditResult) -> list[str]:
    """Precision and recall of the flags after decisions by the truth."""
    wrong = result.scores["injected"].astype(bool)
    precision, recall = [], []
    for draw in range(DRAWS):
        drawn = audit.draw_verification(result, DECISIONS, draw).table
        decided = drawn.assign(decision=np.where(wrong[drawn.index], "wrong", "right"))
        detection = audit.apply_verification(result, decided).summary.detection
        precision.append(detection.precision)
        recall.append(detection.recall)
    return [f"{np.mean(values):.2f} ({np.min(values):.2f})" for values in (precision, recall)]


def main() -> None:
    backbone, embedded = bundled()
    samples = labelled_samples(resolve_source(str(data_set("tiny-imagenet-tables-boats"))))
    x = np.asarray(embedded(samples))
    classes, labels = np.unique([str(label) for label in samples.labels], return_inverse=True)
    rows = [
        [name, str(seed), *measured(x, labels, settings, seed)] for name, settings in AUDITS.items() for seed in SEEDS
    ]
    lines = [f"| {' | '.join(row)} |" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows)]
    text = INTRODUCTION.format(
        samples=len(labels),
        classes=" and ".join(classes),
        backbone=backbone,
        machine=described(machine()),
        decisions=DECISIONS,
        draws=DRAWS,
    )
    PAGE.write_text("\n".join([text, *lines]) + "\n")
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
