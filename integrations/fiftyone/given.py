"""Embeddings and predictions that a user gives with a FiftyOne dataset: fields, brain runs, files or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pandas as pd
from fiftyone.core.collections import SampleCollection

from audit.data.given import Given
from audit.data.predictions import Predictions
from audit.errors import InputError, first_line
from integrations.fiftyone.read import root_of
from integrations.given_files import AuditedSamples, is_file_name, orders_of_source, read_in_order, vectors

EMBEDDINGS, PREDICTIONS = "embeddings", "predictions"


@dataclass(frozen=True)
class GivenInputs:
    """What a user gives beside images and labels.

    Attributes:
        embeddings: each a field with vectors, the key of a brain similarity run, a .npy, .parquet or .csv file, or an
            array (n, d) in the order of the samples.
        predictions: a Classification field with logits, a field with vectors of probabilities, a file, or an array
            (n, C); None if there are none.
        source_order: what the source calls its samples, in its order; None if it is not known. Rows of a file may have
            this order.
    """

    embeddings: tuple[Any, ...] = ()
    predictions: Any = None
    source_order: Sequence[str] | None = None

    @classmethod
    def of(cls, embeddings: Any, predictions: Any, source_order: Sequence[str] | None = None) -> GivenInputs:
        """Of arguments, of which `embeddings` may be one or a list."""
        several = embeddings is not None and isinstance(embeddings, list | tuple)
        listed = tuple(embeddings) if several else () if embeddings is None else (embeddings,)
        return cls(listed, predictions, source_order)

    def __bool__(self) -> bool:
        return bool(self.embeddings) or self.predictions is not None

    def names(self) -> tuple[tuple[str, ...], str | None]:
        """What the command's options would be called with; arrays have no name."""
        embeddings = tuple(_named(one) for one in self.embeddings)
        return embeddings, None if self.predictions is None else _named(self.predictions)

    def read(self, collection: SampleCollection, label_field: str) -> Given:
        """The arrays, a row for each sample of the collection.

        Raises:
            InputError: if a field, run or file does not exist, or holds something else.
        """
        if not self:
            return Given()
        samples = _audited_samples(collection, self.source_order)
        embeddings = [_embeddings(collection, one, samples) for one in self.embeddings]
        predictions = None
        if self.predictions is not None:
            predictions = _predictions(collection, self.predictions, label_field, samples)
        return Given.read(embeddings or None, predictions)


def _named(given: Any) -> str:
    return str(given) if isinstance(given, str | Path) else "FILE.npy"


def _audited_samples(collection: SampleCollection, source_order: Sequence[str] | None) -> AuditedSamples:
    dataset = root_of(collection)
    ids, filepaths = collection.values(["id", "filepath"])
    source_ids = collection.values("source_id") if collection.has_field("source_id") else [None] * len(ids)
    orders = [np.arange(len(ids))]
    position = {sample: place for place, sample in enumerate(ids)}
    if len(dataset) != len(ids):
        orders.append(np.array([position.get(sample, -1) for sample in dataset.values("id")]))
    numbered = orders[-1]
    if source_order is not None:
        of_source = orders_of_source(source_ids, source_order)
        orders, numbered = [*of_source, *orders], of_source[0]
    return AuditedSamples(ids, filepaths, source_ids, orders, numbered)


def _embeddings(collection: SampleCollection, given: Any, samples: AuditedSamples) -> Any:
    if not isinstance(given, str | Path):
        return given
    if isinstance(given, Path) or is_file_name(given):
        return read_in_order(Path(given), samples, f"--{EMBEDDINGS}")
    dataset = root_of(collection)
    if given in dataset.list_brain_runs():
        return _of_brain_run(dataset, given, samples)
    if not collection.has_field(given):
        fields, runs = ", ".join(_vector_fields(dataset)) or "none", ", ".join(dataset.list_brain_runs()) or "none"
        raise InputError(
            f"--{EMBEDDINGS} {given!r} is no field or brain run of dataset {dataset.name!r}, and no .npy, .parquet or "
            f".csv file; it has vector fields: {fields}; brain runs: {runs}"
        )
    return _vectors(collection, given, EMBEDDINGS)


def _of_brain_run(dataset: fo.Dataset, key: str, samples: AuditedSamples) -> np.ndarray:
    """The embeddings of a similarity run, NaN for a sample that it lacks."""
    try:
        results = dataset.load_brain_results(key)
        values, sample_ids, _ = results.get_embeddings()
    except Exception as error:  # runs of other kinds have no such method; backends fail in their own ways
        raise InputError(
            f"--{EMBEDDINGS} {key!r}: the brain run holds no embeddings that can be read ({first_line(error)}); give a "
            "similarity run, or a vector field"
        ) from None
    if values is None or not len(values):
        raise InputError(f"--{EMBEDDINGS} {key!r}: the brain run holds no embeddings; compute its similarity first")
    position = {sample: place for place, sample in enumerate(samples.ids)}
    rows = np.full((len(samples.ids), np.shape(values)[1]), np.nan, dtype=np.float32)
    for sample, vector in zip(sample_ids, values, strict=True):
        if (place := position.get(str(sample))) is not None:
            rows[place] = vector
    return rows


def _vectors(collection: SampleCollection, field: str, option: str) -> np.ndarray:
    kind = collection.get_field(field)
    if not isinstance(kind, fo.VectorField | fo.ArrayField | fo.ListField):
        dataset = root_of(collection)
        fields = ", ".join(_vector_fields(dataset)) or "none"
        raise InputError(
            f"--{option} {field!r} of dataset {dataset.name!r} is a {_kind_of(kind)} and holds no vectors; it has "
            f"vector fields: {fields}"
        )
    return vectors(collection.values(field), f"--{option} {field!r}")


def _kind_of(field: fo.Field) -> str:
    return getattr(field, "document_type", type(field)).__name__


def _vector_fields(dataset: fo.Dataset) -> list[str]:
    schema = dataset.get_field_schema()
    return [name for name, field in schema.items() if isinstance(field, fo.VectorField | fo.ArrayField)]


def _predictions(collection: SampleCollection, given: Any, label_field: str, samples: AuditedSamples) -> Any:
    if not isinstance(given, str | Path):
        return given
    if isinstance(given, Path) or is_file_name(given):
        return read_in_order(Path(given), samples, f"--{PREDICTIONS}")
    dataset, name = root_of(collection), f"--{PREDICTIONS} {given!r}"
    field = collection.get_field(given)
    if field is None:
        raise InputError(
            f"{name} is no field of dataset {dataset.name!r}, and no .npy, .parquet or .csv file; give a "
            "Classification with logits, or a field with a vector of probabilities a sample"
        )
    is_label = isinstance(field, fo.EmbeddedDocumentField) and issubclass(field.document_type, fo.Classification)
    if not is_label:
        values = _vectors(collection, given, PREDICTIONS)
        return Predictions.read(_by_name(values, _classes(dataset, given), name), name)
    logits, predicted = collection.values([f"{given}.logits", f"{given}.label"])
    if all(value is None for value in logits):
        raise InputError(
            f"{name} has no logits; predict again with store_logits=True, or give a field of probabilities"
        )
    values = vectors(logits, name)
    classes = _classes(dataset, given) or sorted(collection.distinct(f"{label_field}.label"))
    if len(classes) == values.shape[1]:
        _check_names(values, predicted, classes, name)
    return Predictions.read(_by_name(values, classes, name), name)


def _classes(dataset: fo.Dataset, field: str) -> list[str]:
    """The class names of a field's logits as the dataset has them; empty if it has none."""
    return list(dataset.classes.get(field) or dataset.default_classes or ())


def _by_name(values: np.ndarray, classes: Sequence[str], name: str) -> np.ndarray | pd.DataFrame:
    """The values with their columns named; as they are if the dataset lists no classes."""
    if not classes:
        return values
    if len(classes) != values.shape[1]:
        raise InputError(
            f"{name} has {values.shape[1]} numbers a sample, and the dataset lists {len(classes)} classes "
            f"({', '.join(classes[:5])}, ...); set dataset.classes[field] to their names, "
            "in the order of the numbers"
        )
    return pd.DataFrame(values, columns=list(classes))


def _check_names(values: np.ndarray, predicted: Sequence[str | None], classes: Sequence[str], name: str) -> None:
    """Refuse class names under which the largest logit is not the field's own label."""
    for row, label in enumerate(predicted):
        if label is None or np.isnan(values[row]).any():
            continue
        largest = classes[int(values[row].argmax())]
        if largest != label:
            raise InputError(
                f"{name}: the largest logit of a sample is that of {largest!r} by the class names ({classes[0]!r}, "
                f"{classes[1]!r}, ...), and its label is {label!r}; set dataset.classes[field] to the names in the "
                "order of the logits"
            )
