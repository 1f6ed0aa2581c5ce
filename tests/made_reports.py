"""Results of the digits and their reports, made once a session for all tests that look at reports.

What takes time to import is imported by the fixtures, since every session reads this file.
"""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from audit.result import AuditResult


@pytest.fixture(scope="session")
def injected() -> AuditResult:
    """With a tenth of the labels made wrong on purpose."""
    from tests.digits_result import digits_result

    return digits_result()


@pytest.fixture(scope="session")
def plain() -> AuditResult:
    """Without injected mislabels."""
    from tests.digits_result import digits_result

    return digits_result(inject=0)


@pytest.fixture(scope="session")
def controls(plain: AuditResult, injected: AuditResult) -> AuditResult:
    """The audit without injection, with the injected one as the copy that holds the known mislabels."""
    columns = {"injected": "spiked", "label": "label", "original_label": "original_label", "suspicion": "suspicion"}
    table = injected.scores[list(columns)].rename(columns=columns)
    kinds = ["slip" if row % 3 else "look-alike" for row in range(len(table))]
    result = replace(plain)
    result.controls = table.assign(copy=0, kind=kinds)
    result.controls.loc[~table["spiked"], "kind"] = ""
    return result


@pytest.fixture(scope="session")
def unsure(plain: AuditResult) -> AuditResult:
    """Whose models differ, and which knows what accepting unseen comes to."""
    from tests.made_statements import accepting

    high, low = accepting().by_threshold
    acceptance = replace(accepting(pays_from=0.9), by_threshold=(high, replace(low, threshold=plain.summary.threshold)))
    estimates = replace(plain.summary.estimates, mistakes=174.0, mistakes_low=47.0, mistakes_high=388.0)
    return replace(plain, summary=replace(plain.summary, estimates=estimates, acceptance=acceptance))


@pytest.fixture(scope="session")
def decided(unsure: AuditResult) -> AuditResult:
    """After sixty decisions on drawn samples."""
    from tests.made_statements import verified

    return replace(unsure, summary=verified(unsure.summary, (71, 20, 140), (0.1, 0.05, 0.2)))


@pytest.fixture(scope="session")
def hostile() -> AuditResult:
    """With class names that try to be markup."""
    from tests.digits_result import HOSTILE_CLASSES, digits_result

    return digits_result(classes=HOSTILE_CLASSES)


@pytest.fixture(scope="session")
def many() -> AuditResult:
    """With 200 classes and a thousand flagged samples."""
    from tests.digits_result import many_classes_result

    return many_classes_result()


@pytest.fixture(scope="session")
def corrected() -> tuple[AuditResult, AuditResult]:
    """Digits with wrong labels, and the same after most flagged ones got their suggestions and the seed changed."""
    import numpy as np
    from sklearn.datasets import load_digits

    import audit

    x, true = load_digits(n_class=4, return_X_y=True)
    labels = np.array([f"digit {label}" for label in true], dtype=object)
    wrong = np.random.default_rng(0).choice(len(labels), 60, replace=False)
    labels[wrong] = [f"digit {(true[row] + 1) % 4}" for row in wrong]
    first = audit.audit_embeddings(x, labels.astype(str))
    corrected = first.flagged[::3].index.union(first.flagged[1::3].index)
    labels[corrected.astype(int)] = first.scores.loc[corrected, "suggested_label"].to_numpy()
    return first, audit.audit_embeddings(x, labels.astype(str), config=audit.AuditConfig(seed=1))


class Reports(dict[str, Path]):
    """The reports by name, each written when it is first asked for.

    Args:
        folder: where they are written.
        request: by which their results are asked for.
    """

    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        super().__init__()
        self._folder = folder
        self._request = request

    def __missing__(self, name: str) -> Path:
        from reports.html import write_report

        if name == "nothing flagged":
            result = nothing_flagged(self._request.getfixturevalue("plain"))
        else:
            result = self._request.getfixturevalue(name)
        self[name] = write_report(result, self._folder / f"{name}.html")
        return self[name]


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Path]:
    """The report of each result above by its fixture's name, and of one with nothing in it: 'nothing flagged'."""
    return Reports(tmp_path_factory.mktemp("reports"), request)


def nothing_flagged(result: AuditResult) -> AuditResult:
    """No flags, no pictures, no explanations, no curves: the least that a report is made of."""
    summary = replace(
        result.summary,
        counts=replace(result.summary.counts, flagged=0),
        estimates=replace(result.summary.estimates, mistakes=0.0, mistakes_low=0.0, mistakes_high=0.2, precision=None),
        threshold=1.0,
        threshold_rule="The user set the threshold.",
        backbone=None,
        notes=(),
        source=None,
        correction=None,
    )
    return replace(
        result,
        scores=result.scores.assign(flag=False),
        summary=summary,
        curves=result.curves.iloc[:0],
        explanations=result.explanations.iloc[:0],
        skipped=result.skipped.iloc[:0],
        thumbnails=result.thumbnails.iloc[:0],
    )


class ReportText(HTMLParser):
    """Text, tags and scripts of a page, as a browser would take them apart."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = "data" if dict(attrs).get("id") == "page-data" else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data += data
        elif self._inside not in ("script", "style"):
            self.text += f" {data}"
