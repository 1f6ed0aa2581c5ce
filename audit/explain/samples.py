"""Why a sample is suspect: the training samples that help and harm the prediction of its label most, the validation
samples that it harms, and where in its image that comes from.

The pairwise influence of training sample i on sample t is rᵢᵀ S zᵢ with H S = r_t z_tᵀ: positive where training on i
lowers the loss of t's given label, so that i speaks for the label; negative where i speaks against it (Koh & Liang,
arXiv 1703.04730, with the sign turned, as for the averaged influence).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from audit.errors import InputError
from audit.explain.audited import AuditedImages, audited_head
from audit.explain.nearest import NearestSamples
from audit.head.fit import Head, one_hot
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.images.decoding import decode_image
from audit.images.heat_map import HeatMaps, overlay
from audit.influence.pairwise import influence_on_targets
from audit.influence.ranking import helpful_and_harmful
from audit.progress import ProgressCallback, Step, silent
from audit.result import AuditResult

if TYPE_CHECKING:
    from PIL.Image import Image


class Explainer:
    """Explains any sample by the training samples of a head, with one solution each.

    Args:
        ids: n distinct ids of the training samples.
        embeddings: their (n, d).
        labels: their (n,) class numbers, those that the head was trained on.
        head: the trained head.
        damping: what the audit added to the Hessian's diagonal.
        note: receives a message if more damping had to be added to an ill-conditioned Hessian.
    """

    def __init__(
        self,
        ids: list[str],
        embeddings: np.ndarray,
        labels: np.ndarray,
        head: Head,
        damping: float = 0.0,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._ids = np.array(ids, dtype=object)
        self._labels = np.asarray(labels)
        self._head = head
        self._z, p = self._predict(embeddings)
        self._residuals = p - one_hot(torch.from_numpy(labels), p.shape[1], p.dtype)
        # Conjugate gradients: a dense factor pays off over many solves only, and takes long to make.
        self._solver = StableSolver(HeadHessian(self._z, p, head.l2, damping=damping), "cg", note)

    def explain(
        self,
        sample_id: str,
        embedding: np.ndarray,
        label: int,
        count: int,
        same_class: bool = False,
        tolerance: float = 1e-8,
    ) -> pd.DataFrame:
        """The training samples that speak for and against a sample's label.

        Args:
            sample_id: its id; where it is a training sample itself, it does not explain itself.
            embedding: its (d,).
            label: the class number in question.
            count: how many of each kind, at most.
            same_class: only among the training samples of this label.
            tolerance: relative residual of the solution.

        Returns:
            Columns kind ('helpful' speaks for the label, 'harmful' against it), rank (1 is strongest), neighbour
            (id), influence (on the loss of this label, nats times n). Only samples that really help or harm are in it.
        """
        z, p = self._predict(embedding[None])
        residual = p - one_hot(torch.tensor([label]), p.shape[1], p.dtype)
        row = influence_on_targets(self._solver, z, residual, self._z, self._residuals, tolerance)[0]
        among = self._ids != sample_id
        if same_class:
            among &= self._labels == label
        others = np.flatnonzero(among)
        kinds = zip(("helpful", "harmful"), helpful_and_harmful(row, count, torch.from_numpy(others)), strict=True)
        records = [
            (kind, rank, self._ids[place], float(row[place]))
            for kind, places in kinds
            for rank, place in enumerate(places.tolist(), 1)
        ]
        return pd.DataFrame(records, columns=["kind", "rank", "neighbour", "influence"])

    def harms(
        self, embedding: np.ndarray, label: int, others: np.ndarray, other_labels: np.ndarray, count: int
    ) -> list[tuple[int, float]]:
        """The samples that are predicted worse because the head was trained on a sample.

        Args:
            embedding: of the sample (d,).
            label: the class number that it is trained on with.
            others: embeddings (m, d) of the samples that may suffer.
            other_labels: (m,) the class numbers that they should be predicted as.
            count: how many, at most.

        Returns:
            Positions among the m, most harmed first, with the influence on the loss of each (nats times n, negative).
        """
        z, p = self._predict(np.concatenate([embedding[None], others]))
        numbers = torch.from_numpy(np.concatenate([[label], other_labels]))
        residuals = p - one_hot(numbers, p.shape[1], p.dtype)
        # H is symmetric: what the sample does to all of them takes one solve, for its own gradient.
        row = influence_on_targets(self._solver, z[:1], residuals[:1], z[1:], residuals[1:])[0]
        return [(place, float(row[place])) for place in helpful_and_harmful(row, count)[1].tolist()]

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """What the head predicts for embeddings (m, d): probabilities (m, C) of the classes."""
        return self._predict(embeddings)[1].numpy()

    def _predict(self, embeddings: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.from_numpy(np.asarray(embeddings)).to(torch.float64)
        return self._head.features(x), self._head.probabilities(x)


class ResultExplainer:
    """Explains the samples of a saved audit; the embeddings come from the cache, or are computed where it lacks them.

    Args:
        result: an audit of image files.
        progress: told about the embeddings.
        tolerance: relative residual of the solutions that explanations take; 1e-3 is enough to rank samples.

    Raises:
        InputError: if the result cannot be explained: it was made of embeddings, or its training images are gone.
    """

    def __init__(self, result: AuditResult, progress: ProgressCallback = silent, tolerance: float = 1e-8) -> None:
        self._images = AuditedImages(result)
        self._result = result
        self._scores = result.scores
        self._tolerance = tolerance
        self._classes = {label: number for number, label in enumerate(result.summary.classes)}
        # All of them at once: the cache is read once, and not for each sample that is asked about.
        embedded = self._images.embed(result.scores, progress)
        self._embeddings = embedded.values
        self._readable = result.scores.iloc[embedded.rows]
        in_train = (self._readable["split"] == "train").to_numpy()
        train = self._readable[in_train]
        if not len(train):
            self._images.embed(result.scores[result.scores["split"] == "train"])  # says which image is gone
        labels = np.array([self._classes[label] for label in train["label"]])
        self._explainer = Explainer(
            list(train.index),
            self._embeddings[in_train],
            labels,
            audited_head(result),
            self._images.config.damping,
            lambda text: progress(Step("explanation", note=text)),
        )

    @cached_property
    def nearest(self) -> NearestSamples:
        """Which samples are most like one, among those whose images can be read."""
        return NearestSamples(list(self._readable.index), self._embeddings, list(self._readable["label"]))

    @property
    def embedded(self) -> tuple[list[str], np.ndarray]:
        """The ids of the samples whose images can be read, and their embeddings (n, d)."""
        return list(self._readable.index), self._embeddings

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of `head_probabilities`."""
        return [str(label) for label in self._classes]

    def head_probabilities(self, samples: Sequence[str]) -> np.ndarray:
        """What the audited head predicts: probabilities (m, C) of the classes, for m samples of `nearest`."""
        return self._explainer.probabilities(self._embeddings[[self._places[sample] for sample in samples]])

    def explain(self, sample_id: str, count: int, same_class: bool = False) -> pd.DataFrame:
        """The training samples that speak for and against the label of a sample that was audited.

        Args:
            sample_id: the sample.
            count: how many of each kind, at most.
            same_class: only among the training samples of its own label.

        Returns:
            The columns of `Explainer.explain`, and label: the one that the neighbour was trained on with.

        Raises:
            InputError: if the audit has not scored the sample, or its image cannot be read.
        """
        embedding, label = self._embedded(sample_id)
        table = self._explainer.explain(sample_id, embedding, label, count, same_class, self._tolerance)
        return table.assign(label=self._scores["label"].reindex(table["neighbour"]).to_numpy())

    def harms(self, sample_id: str, count: int) -> pd.DataFrame:
        """The validation samples that are predicted worse because the head was trained on the sample with its label.

        A validation sample should be predicted as its given label, or as its suggested one where it is flagged and the
        audit did not take validation labels as trusted.

        Returns:
            Columns rank (1 suffers most), neighbour (id), influence (on its loss, nats times n, negative) and label
            (that it should be predicted as).

        Raises:
            InputError: if the audit has not scored the sample, or its image cannot be read.
        """
        embedding, label = self._embedded(sample_id)
        table, embeddings = self._validation
        others = np.flatnonzero(table["id"] != sample_id)
        found = self._explainer.harms(
            embedding,
            label,
            embeddings[others],
            np.array([self._classes[name] for name in table["label"].iloc[others]]),
            count,
        )
        rows = table.iloc[others[[place for place, _ in found]]]
        columns = {"rank": range(1, len(found) + 1), "neighbour": rows["id"].to_numpy()}
        return pd.DataFrame({**columns, "influence": [value for _, value in found], "label": rows["label"].to_numpy()})

    def heat_map(self, sample_id: str) -> np.ndarray:
        """Where in the image its influence comes from: `audit.heat_map.heat_map`, float32 (height, width) in [0, 1].

        Raises:
            InputError: if the audit has not scored the sample, its image cannot be read, or the engine was not 'exact'.
        """
        return self._image_and_map(sample_id)[1]

    def drawn_heat_map(self, sample_id: str) -> bytes:
        """The heat map over the image: WebP of at most 160 × 160 pixels. Raises what `heat_map` does."""
        return overlay(*self._image_and_map(sample_id))

    def _image_and_map(self, sample_id: str) -> tuple[Image, np.ndarray]:
        row = self._row(sample_id)
        try:
            image = decode_image(row["filepath"].iloc[0] or "")
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"image of sample {sample_id} cannot be read ({error}); its heat map needs it") from None
        return image, HeatMaps(self._result, self._images.backbone).of(image, row["label"].iloc[0])

    def _row(self, sample_id: str) -> pd.DataFrame:
        if sample_id not in self._scores.index:
            raise InputError(f"sample {sample_id} was not scored by this audit; run the audit on it")
        return self._scores.loc[[sample_id]]

    def _embedded(self, sample_id: str) -> tuple[np.ndarray, int]:
        """Embedding (d,) and class number."""
        row = self._row(sample_id)
        label = self._classes[row["label"].iloc[0]]
        if sample_id in self._places:
            return self._embeddings[self._places[sample_id]], label
        return self._images.embed(row).values[0], label  # it may be readable by now; else this says why it is not

    @cached_property
    def _places(self) -> dict[str, int]:
        return {sample: place for place, sample in enumerate(self._readable.index)}

    @cached_property
    def _validation(self) -> tuple[pd.DataFrame, np.ndarray]:
        held_out = (self._readable["split"] == "validation").to_numpy()
        rows = self._readable[held_out]
        believed = rows["label"]
        if not self._images.config.validation_trusted:
            believed = believed.where(~rows["flag"].to_numpy(dtype=bool), rows["suggested_label"])
        return pd.DataFrame({"id": rows.index.to_numpy(), "label": believed.to_numpy()}), self._embeddings[held_out]

    def judgement(self, sample_id: str) -> tuple[str, str, float]:
        """The label that was audited, the suggested one, and its probability."""
        row = self._scores.loc[sample_id].to_dict()
        return row["label"], row["suggested_label"], float(row["suggested_probability"])
