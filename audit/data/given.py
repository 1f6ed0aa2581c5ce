"""What a user gives an audit beside images and labels: embeddings, predictions, or the labels of several annotators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.annotators.labels import AnnotatorLabels
from audit.data.embeddings import NO_EMBEDDING, GivenEmbeddings
from audit.data.predictions import NO_PREDICTION, Predictions, check_column_order
from audit.errors import InputError


@dataclass(frozen=True)
class Given:
    """What a user gives beside labels and images.

    Attributes:
        embeddings: of the samples, in place of a backbone's; None if there are none.
        predictions: of a model of the user's own; None if there are none.
        annotators: the labels of several annotators, of which the consensus is audited; None for one label a sample.
    """

    embeddings: GivenEmbeddings | None = None
    predictions: Predictions | None = None
    annotators: AnnotatorLabels | None = None

    @classmethod
    def read(cls, embeddings: Any = None, predictions: Any = None, annotators: Any = None) -> Given:
        """Read them in any usual form; errors as those of the `read` of each."""
        return cls(
            None if embeddings is None else GivenEmbeddings.read(embeddings),
            None if predictions is None else Predictions.read(predictions),
            None if annotators is None else AnnotatorLabels.read(annotators, "annotators"),
        )

    def check_rows(self, samples: int) -> None:
        """Refuse what does not have one row for each of the samples."""
        for name, given in (
            ("embeddings", self.embeddings),
            ("predictions", self.predictions),
            ("annotators", self.annotators),
        ):
            if given is not None and len(given) != samples:
                raise InputError(
                    f"{name} have {len(given)} rows, and there are {samples} samples; give one row a sample"
                )

    def lacking(self, rows: np.ndarray) -> dict[int, str]:
        """Those of the samples' rows for which nothing was given, with the reason."""
        reasons = {}
        for given, reason in ((self.predictions, NO_PREDICTION), (self.embeddings, NO_EMBEDDING)):
            if given is not None:
                reasons.update(dict.fromkeys(rows[given.missing[rows]].tolist(), reason))
        return reasons

    def every_label(self, labels: np.ndarray) -> np.ndarray:
        """The distinct labels of all samples, sorted, by their labels (n,) or those of all annotators."""
        return np.unique(labels) if self.annotators is None else self.annotators.classes

    def probabilities(
        self, rows: np.ndarray, every_label: np.ndarray, classes: np.ndarray, labels: np.ndarray
    ) -> np.ndarray | None:
        """The predictions (k, C) for samples; None if there are none (`Predictions.of_classes`).

        Args:
            rows: positions (k,) of the audited samples.
            every_label: the sorted distinct labels of all samples.
            classes: (C,) the sorted audited classes, some of these.
            labels: (k,) of the audited samples; None in an array of objects where one is not known.

        Raises:
            InputError: if the columns are not those of the classes, or clearly in another order.
        """
        if self.predictions is None:
            return None
        found = self.predictions.select(rows).of_classes(every_label, classes)
        if self.predictions.columns is None:
            known = np.isin(labels, classes)
            check_column_order(found[known], np.searchsorted(classes, labels[known].astype(classes.dtype)))
        return found
