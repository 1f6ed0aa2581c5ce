"""The figures of the report, and which of them a result has the data for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import plotly.graph_objects as go

from audit.result import AuditResult
from audit.summary.correction import RetrainedHead
from reports import figures
from reports.known_mislabels import compare_with_known


@dataclass(frozen=True)
class Plot:
    """A figure of the page.

    Attributes:
        name: of the figure, and of its file.
        alt: what it shows, in words.
        draw: makes the plotly figure of a result, for a theme.
        fits: whether a result has the data for it.
    """

    name: str
    alt: str
    draw: Callable[..., go.Figure]
    fits: Callable[[AuditResult], bool]


def _measured(result: AuditResult) -> bool:
    known = compare_with_known(result)
    return known is not None and bool(known.wrong.any())


def _retrained(head: str) -> Callable[[AuditResult], bool]:
    def fits(result: AuditResult) -> bool:
        correction = result.summary.correction
        return correction is not None and isinstance(correction.heads.by_name[head], RetrainedHead)

    return fits


_PLOTS = (
    Plot(
        "precision_recall",
        "Precision against recall on the known mislabels, with the threshold",
        figures.precision_recall,
        _measured,
    ),
    Plot(
        "roc",
        "Share of known mislabels found against share of other samples flagged, with the threshold",
        figures.roc,
        _measured,
    ),
    Plot(
        "suspicion_histogram",
        "Number of samples by suspicion, with the threshold",
        figures.suspicion_histogram,
        lambda result: True,
    ),
    Plot(
        "influence_by_class",
        "Distribution of influence in each class, corrupted or flagged samples beside the others",
        figures.influence_by_class,
        lambda result: bool(result.scores["influence"].notna().any()),
    ),
    Plot(
        "given_by_suggested",
        "Matrix of flagged samples: given label against suggested label",
        figures.given_by_suggested,
        lambda result: True,
    ),
    *(
        Plot(
            f"confusion_{head}",
            f"Confusion matrix on the test split of the head {words}",
            partial(figures.confusion_corrected, head=head),
            _retrained(head),
        )
        for head, words in (
            ("before", "before correction"),
            ("removed", "without the flagged samples"),
            ("corrected", "with the suggested labels"),
        )
    ),
    Plot(
        "loss_curves",
        "Training and validation loss of the head by training step",
        figures.loss_curves,
        lambda result: len(result.curves) > 0,
    ),
    Plot(
        "confusion_given",
        "Confusion matrix on the test split of the head trained on the given labels",
        partial(figures.confusion, head="given"),
        # If nothing was injected and there is something to correct, this is the head before correction.
        lambda result: (
            result.summary.heads is not None
            and (result.summary.detection is not None or result.summary.correction is None)
        ),
    ),
)


def fitting_plots(result: AuditResult) -> list[Plot]:
    """The figures for which this result has data."""
    return [plot for plot in _PLOTS if plot.fits(result)]
