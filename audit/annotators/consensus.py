"""The consensus of several annotators, and how good each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from audit.annotators.labels import AnnotatorLabels, Votes
from audit.annotators.model import AnnotatorsModel, FittedAnnotators
from audit.data.embeddings import GivenEmbeddings
from audit.data.given import Given
from audit.errors import InputError
from audit.progress import ProgressCallback, silent


@dataclass(frozen=True)
class Consensus:
    """What all annotators say together.

    Attributes:
        annotated: the labels of n samples by A annotators.
        classes: (C,) the distinct labels, sorted.
        fitted: the model.
        posterior: float32 (n, C) P(true class | picture, labels).
        index: what the rows of the tables are called.
    """

    annotated: AnnotatorLabels
    classes: np.ndarray
    fitted: FittedAnnotators
    posterior: np.ndarray
    index: pd.Index

    @classmethod
    def of(
        cls, annotated: AnnotatorLabels, classes: np.ndarray, fitted: FittedAnnotators, index: pd.Index | None = None
    ) -> Consensus:
        """The consensus of labels that a model was fitted to."""
        rows = pd.RangeIndex(len(annotated)) if index is None else index
        return cls(annotated, classes, fitted, fitted.posterior().numpy(), rows)

    @property
    def numbers(self) -> np.ndarray:
        """The consensus (n,) as class numbers; an arbitrary one where nobody gave a label."""
        numbers: np.ndarray = self.posterior.argmax(1)
        return numbers

    @cached_property
    def labels(self) -> pd.DataFrame:
        """A row for each sample: consensus_label, consensus_probability (that it is right, 0 to 1), annotator_agreement
        (share of the sample's annotators who gave it) and num_annotations. Without any label, the first two are empty.
        """
        counts = self.fitted.votes.counts().numpy()
        total, numbers = counts.sum(1), self.numbers
        chosen = self.classes[numbers].astype(object)
        probability = self.posterior[np.arange(len(numbers)), numbers].astype(np.float64)
        chosen[total == 0], probability[total == 0] = None, np.nan
        with np.errstate(invalid="ignore"):
            agreement = counts[np.arange(len(numbers)), numbers] / total
        columns = {
            "consensus_label": chosen,
            "consensus_probability": probability,
            "annotator_agreement": agreement,
            "num_annotations": total.astype(int),
        }
        return pd.DataFrame(columns, index=self.index)

    @cached_property
    def label_probabilities(self) -> pd.DataFrame:
        """(n, A): the probability that each label is right; NaN where it is missing."""
        votes = self.fitted.votes
        values = np.full((votes.samples, votes.annotators), np.nan)
        values[votes.sample, votes.annotator] = self.posterior[votes.sample, votes.label]
        return pd.DataFrame(values, index=self.index, columns=list(self.annotated.names))

    @cached_property
    def annotators(self) -> pd.DataFrame:
        """A row for each annotator, the worst first: annotator_quality (the expected share of right labels, 0 to 1),
        agreement_with_consensus (the share that equals the consensus), worst_class (the true class of which the largest
        share of labels is wrong) and num_examples_labeled."""
        votes = self.fitted.votes
        given = torch.bincount(votes.annotator, minlength=votes.annotators).double()
        agreeing = torch.from_numpy(self.numbers)[votes.sample] == votes.label
        same = torch.zeros(len(given), dtype=torch.float64).index_add_(0, votes.annotator, agreeing.double())
        expected = votes.confusions(torch.from_numpy(self.posterior).double())
        right = expected.diagonal(dim1=1, dim2=2)
        seen = expected.sum(2) >= 0.5  # classes of which the annotator labelled a sample, in expectation
        rates = self.fitted.confusion.diagonal(dim1=1, dim2=2).masked_fill(~seen, torch.inf)
        columns = {
            "annotator_quality": (right.sum(1) / given).numpy(),
            "agreement_with_consensus": (same / given).numpy(),
            "worst_class": self.classes[rates.argmin(1).numpy()],
            "num_examples_labeled": given.long().numpy(),
        }
        table = pd.DataFrame(columns, index=pd.Index(self.annotated.names, name="annotator"))
        return table.sort_values("annotator_quality", kind="stable")

    @cached_property
    def confusions(self) -> pd.DataFrame:
        """A row for each annotator, true class and label: annotator, true_class, label and probability (0 to 1)."""
        names = [list(self.annotated.names), self.classes.tolist(), self.classes.tolist()]
        index = pd.MultiIndex.from_product(names, names=["annotator", "true_class", "label"])
        return pd.DataFrame({"probability": self.fitted.confusion.numpy().ravel()}, index=index).reset_index()

    def confusion_of(self, annotator: str) -> np.ndarray:
        """The confusion matrix (C, C) of an annotator: row = true class, column = label; rows sum to 1."""
        matrix: np.ndarray = self.fitted.confusion[self.annotated.names.index(annotator)].numpy()
        return matrix


def consensus_labels(
    labels: Any, *, embeddings: Any = None, predictions: Any = None, seed: int = 0, progress: ProgressCallback = silent
) -> Consensus:
    """The likeliest label of each sample by what several annotators gave it, and how good each annotator is.

    Pictures help: where embeddings or predictions are given, they say which classes a picture may show, and so which
    annotators are right. With neither, the model is that of Dawid and Skene (1979).

    Args:
        labels: (n, A), a column for each annotator: a table whose columns are the annotators, an array, or a list of
            rows. None, NaN and blank text are missing labels; in an array of numbers, -1 is missing, too.
        embeddings: (n, d) of the pictures, or a list of several such arrays; None for none.
        predictions: (n, C) probabilities or logits by a model that was not trained on the sample, in the order of the
            sorted labels or as a table with a column a class; None for none.
        seed: for drawing the samples that settings are chosen by.
        progress: called after each round.

    Returns:
        The consensus: `labels`, `annotators`, `label_probabilities` and `confusions` are tables.

    Raises:
        InputError: if there are fewer than two annotators or classes, rows differ in number, or an embedding is
            missing.

    Example:
        >>> table = pandas.DataFrame({"ann": ["cat", "dog", None], "bob": ["cat", "cat", "dog"]})
        >>> consensus_labels(table, predictions=probabilities).labels
    """
    index = labels.index if isinstance(labels, pd.DataFrame) else None
    annotated = AnnotatorLabels.read(labels)
    classes = annotated.classes
    if len(classes) < 2:
        raise InputError(f"all annotators gave the same label ({classes.tolist()[0]!r}); a consensus needs two classes")
    given = Given.read(embeddings, predictions)
    given.check_rows(len(annotated))
    rows = np.arange(len(annotated))
    if given.embeddings is not None and given.embeddings.missing.any():
        row = int(np.flatnonzero(given.embeddings.missing)[0])
        raise InputError(f"embeddings: row {row} is missing; give one for each sample, or leave that sample out")
    probabilities = given.probabilities(rows, classes, classes, annotated.majority())
    model = AnnotatorsModel(
        _tensor(given.embeddings),
        None if probabilities is None else torch.from_numpy(probabilities),
        len(classes),
        seed,
    )
    return Consensus.of(annotated, classes, model.fit(Votes.of(annotated, classes), progress), index)


def _tensor(embeddings: GivenEmbeddings | None) -> torch.Tensor | None:
    if embeddings is None:
        return None
    return torch.from_numpy(np.ascontiguousarray(embeddings.values, dtype=np.float32))
