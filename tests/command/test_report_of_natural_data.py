"""What the report states about people's mistakes, against the true labels: where INFLUENCE_AUDIT_DATA names them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from audit.result import AuditResult
from integrations.corrections.decisions import keys_of
from reports.acceptance import accepted_at
from reports.answers import answers
from reports.claims import claims_of
from reports.class_table import class_rows
from reports.html import render_report
from reports.ranges import Figure, count_range, share_range
from reports.verdict import headline
from reports.wrong_labels_by_class import PAIRS, flagged_pairs
from tests.benchmarks.data import data_set
from tests.command.forked_command import forked_command
from tests.made_reports import ReportText

pytestmark = pytest.mark.development_data


@dataclass(frozen=True)
class Truth:
    """An audit, and what is true of its samples.

    Attributes:
        result: of the audit of the aggregate labels of CIFAR-10N.
        page: the text of its report.
        true: the true label of each scored sample, as text.
        wrong: whether its given label is wrong.
    """

    result: AuditResult
    page: str
    true: np.ndarray
    wrong: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """A column of the scores."""
        values: np.ndarray = self.result.scores[name].to_numpy()
        return values


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    folder = tmp_path_factory.mktemp("natural")
    options = ("--label-column", "aggre_label", "--no-fiftyone", "--weights", "bundled", "-q", "-o", "result")
    done = forked_command("run", data_set("cifar10n-dev"), *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    result = AuditResult.load(folder / "result")
    table = pq.read_table(data_set("cifar10n-dev") / "train.parquet", columns=["label"])
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    names = np.array(features["label"]["names"])
    rows = [int(Path(key).name) for key in keys_of(result)]  # keys are train/000000, train/000001 ...
    true = names[table["label"].to_numpy()[rows]]
    page = " ".join(ReportText(render_report(result)).text.split())
    return Truth(result, page, true, true != result.scores["label"].to_numpy(dtype=str))


def holds(number: Figure | None, true: Any) -> bool:
    """Whether a stated range holds the true value."""
    return number is not None and number.low <= true <= number.high


def in_page(text: str, page: str) -> bool:
    return " ".join(text.split()) in page


def test_the_number_of_wrong_labels_and_the_quality_of_the_flags(truth: Truth) -> None:
    claims, flag = claims_of(truth.result.summary), truth.column("flag").astype(bool)
    assert claims.precision is not None
    assert claims.recall is not None
    assert holds(claims.mistakes, truth.wrong.sum())
    assert holds(claims.precision, truth.wrong[flag].mean())
    assert holds(claims.recall, flag[truth.wrong].mean())
    for text in (count_range(claims.mistakes), share_range(claims.precision), share_range(claims.recall)):
        assert in_page(text, truth.page)
    assert in_page(headline(truth.result.summary), truth.page)
    assert f"{flag.sum()} to review" in truth.page


def test_the_wrong_labels_of_each_class(truth: Truth) -> None:
    rows = class_rows(truth.result)[1:]
    assert len(rows) == 10
    given = truth.column("label").astype(str)
    outside = [row.label for row in rows if not holds(row.wrong, truth.wrong[given == str(row.label)].sum())]
    assert outside == []
    for row in rows:
        assert in_page(f"{row.label} {row.samples:,} {row.flagged:,} {row.wrong_text} {row.share_text}", truth.page)


def test_the_classes_that_are_named(truth: Truth) -> None:
    given, other, flag = (truth.column(name).astype(str) for name in ("label", "other_label", "flag"))
    (named,) = (answer.text for answer in answers(truth.result) if answer.question == "Which classes?")
    for label, suggested, number in flagged_pairs(truth.result)[:PAIRS]:
        assert f"{label}\u2069 → \u2068{suggested}\u2069 ({number})" in named
        of_pair = (given == label) & (other == suggested) & (flag == "True")
        assert of_pair.sum() == number
        assert truth.wrong[of_pair].mean() > 3 * truth.wrong.mean()
    shares = {label: truth.wrong[given == label].mean() for label in np.unique(given)}
    worst = named.split("Of all classes \u2068")[1].split("\u2069")[0]
    assert "is expected to have the largest share of wrong labels" in named
    assert shares[worst] > 1.3 * truth.wrong.mean()
    assert shares[worst] > 0.9 * max(shares.values())


def test_what_accepting_suggestions_unseen_mends_and_breaks(truth: Truth) -> None:
    suspicion, other = truth.column("suspicion"), truth.column("other_label").astype(str)
    rows = accepted_at(truth.result.summary)
    assert rows
    for row in rows:
        accepted = suspicion >= row.threshold
        mended = (accepted & truth.wrong & (other == truth.true)).sum()
        broken = (accepted & ~truth.wrong).sum()
        assert holds(row.mended, mended), row.threshold
        assert holds(row.broken, broken), row.threshold
        assert mended > broken or not row.pays


def test_near_duplicates_with_different_labels_prove_a_wrong_label(truth: Truth) -> None:
    wrong = dict(zip(truth.result.scores.index, truth.wrong, strict=True))
    findings = truth.result.findings
    of_kind = findings[findings["kind"] == "near-duplicate-labels"].dropna(subset="id")
    proven = of_kind.groupby("finding")["id"].agg(lambda ids: any(wrong[name] for name in ids))
    assert len(proven)
    assert proven.all()
    assert truth.result.summary.copies.proven_mistakes <= truth.wrong.sum()
