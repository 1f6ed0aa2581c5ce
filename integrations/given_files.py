"""Embeddings and predictions in files, with their rows put into the order of the audited samples.

A file has its rows in the order of the source, or names each row's sample: in a column, or as the index that pandas
writes. A name may be FiftyOne's id of the sample, what the source calls it, its path, or its file name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from audit.data.given import Given
from audit.data.predictions import read_file
from audit.data.samples import Samples
from audit.errors import InputError, first_line
from integrations.given_names import check_file
from integrations.given_names import is_file_name as is_file_name

ID_COLUMNS = ("id", "sample_id", "source_id", "filepath", "file_path", "file_name", "filename", "file", "path", "image")
"""Columns of a table that name samples, the first that there is."""


@dataclass(frozen=True)
class AuditedSamples:
    """The samples that rows of a file are matched with.

    Attributes:
        ids: n ids, as FiftyOne or the caller has them.
        filepaths: n paths, None where a sample is no file.
        source_ids: n names in the source; None where they are not known.
        orders: the orders that a file's rows may have, each as the positions of the samples (-1 for one that is not
            audited), the likeliest first: of their source, of the samples themselves, of their dataset.
        numbered: the one of these whose rows a file may name by their numbers.
    """

    ids: Sequence[str]
    filepaths: Sequence[str | None]
    source_ids: Sequence[str | None]
    orders: Sequence[np.ndarray]
    numbered: np.ndarray

    @classmethod
    def of(cls, samples: Samples, source_order: Sequence[str] | None = None) -> AuditedSamples:
        """Samples that are not in FiftyOne.

        Args:
            samples: in the order of their source.
            source_order: the ids of all rows of the source, of which some have no sample; None where all have one.
        """
        paths = [str(image) if isinstance(image, str | Path) else None for image in samples.images]
        orders = orders_of_source(samples.ids, samples.ids if source_order is None else source_order)
        return cls(samples.ids, paths, [None] * len(paths), orders, orders[0])

    def positions(self, names: Sequence[str], where: str) -> np.ndarray:
        """The position of the sample that each name means, -1 for none.

        Raises:
            InputError: if no name means a sample, or two mean the same one.
        """
        ways = [np.array([known.get(part(name), -1) for name in names]) for part, known in self._namings()]
        found = max(ways, key=lambda positions: int((positions >= 0).sum()))
        matched = found[found >= 0]
        if not len(matched):
            raise InputError(
                f"{where} names no sample of the dataset: it has {names[0]!r}, and the dataset {self.ids[0]!r} "
                f"({self.filepaths[0] or 'no file'}); give ids, paths or file names of the samples"
            )
        if len(np.unique(matched)) < len(matched):
            repeated = names[int(np.flatnonzero(found == np.bincount(matched).argmax())[0])]
            raise InputError(f"{where} names sample {repeated!r} more than once; give one row a sample")
        return found

    def _namings(self) -> list[tuple[Callable[[str], str], dict[str, int]]]:
        """Ways to name samples, the safest first: the part of a name that is compared, and the samples by it.

        A part that several samples have names none of them.
        """
        paths = [path or "" for path in self.filepaths]
        numbered = {str(row): int(place) for row, place in enumerate(self.numbered) if place >= 0}
        return [
            (str, _distinct(list(self.ids))),
            (str, _distinct([name or "" for name in self.source_ids])),
            (os.path.abspath, _distinct([os.path.abspath(path) if path else "" for path in paths])),
            (_last_two_parts, _distinct(list(map(_last_two_parts, paths)))),
            (os.path.basename, _distinct(list(map(os.path.basename, paths)))),
            (str, numbered),
        ]


def orders_of_source(names: Sequence[str | None], source_order: Sequence[str]) -> list[np.ndarray]:
    """The orders of a file with a row for each row of the source, and of one with those that are audited.

    Args:
        names: what the source calls the samples.
        source_order: what it calls all of its rows, in its order.
    """
    places = {name: place for place, name in enumerate(names)}
    whole = np.array([places.get(name, -1) for name in source_order])
    audited = whole[whole >= 0]
    return [whole] if len(audited) == len(whole) else [whole, audited]


def _last_two_parts(path: str) -> str:
    return os.path.join(*Path(path).parts[-2:]) if path else ""


def _distinct(names: Sequence[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    repeated = {""}
    for place, name in enumerate(names):
        if name in places:
            repeated.add(name)
        places[name] = place
    return {name: place for name, place in places.items() if name not in repeated}


def given_in_files(
    samples: Samples, embeddings: Sequence[str], predictions: str | None, source_order: Sequence[str] | None = None
) -> Given:
    """Embeddings and predictions in files, for samples that are not in FiftyOne and have the order of their source.

    Args:
        samples: that are audited; their ids are what the source calls them.
        embeddings: the files of embeddings.
        predictions: the file of predictions; None if there is none.
        source_order: the ids of all rows of the source, of which some have no sample; None where all have one.

    Raises:
        InputError: if a text names no file, or its rows are not those of the samples.
    """
    named = [("--embeddings", one) for one in embeddings]
    named += [] if predictions is None else [("--predictions", predictions)]
    for option, text in named:
        if not is_file_name(text):
            raise InputError(f"{option} {text!r} is no .npy, .parquet or .csv file; without FiftyOne, give a file")
    listed = AuditedSamples.of(samples, source_order)
    vectors_of = [read_in_order(Path(one), listed, "--embeddings") for one in embeddings]
    return Given.read(
        vectors_of or None,
        None if predictions is None else read_in_order(Path(predictions), listed, "--predictions"),
    )


def read_in_order(path: Path, samples: AuditedSamples, option: str) -> np.ndarray | pd.DataFrame:
    """The file's rows in the order of the samples; NaN for a sample without a row.

    Args:
        path: of a .npy, .parquet or .csv file.
        samples: that are audited.
        option: that named the file, for messages.

    Returns:
        An array (n, d), or the columns of a table without those that name samples.

    Raises:
        InputError: if the file cannot be read, or its rows are not those of the samples.
    """
    check_file(path, option)
    content = read_file(path, option)
    names: list[str] | None = None
    if isinstance(content, pd.DataFrame):
        names, content = _named_rows(content)
    where = f"{option} {str(path)!r}"
    if names is not None:
        positions = samples.positions(names, where)
    else:
        fitting = [order for order in samples.orders if len(order) == len(content)]
        if not fitting:
            counts = " or ".join(str(count) for count in dict.fromkeys(map(len, samples.orders)))
            raise InputError(
                f"{where} has {len(content)} rows, and there are {counts} samples; give one row for each sample in the "
                "order of the source, or a parquet file with a column 'id'"
            )
        positions = fitting[0]
    row_of = np.full(len(samples.ids), -1)
    row_of[positions[positions >= 0]] = np.flatnonzero(positions >= 0)
    return _rows(content, row_of)


def id_column(table: pd.DataFrame) -> Hashable | None:
    """The column that names the samples; None if the table has none. A column of fractions is a class of that name."""
    found = (name for name in table.columns if str(name).lower() in ID_COLUMNS)
    return next((name for name in found if not pd.api.types.is_float_dtype(table[name].dtype)), None)


def _named_rows(table: pd.DataFrame) -> tuple[list[str] | None, pd.DataFrame]:
    """The names of the rows, if the table has any, and its other columns."""
    if (column := id_column(table)) is not None:
        return list(map(str, table[column])), table.drop(columns=column)
    if not isinstance(table.index, pd.RangeIndex):
        return list(map(str, table.index)), table.reset_index(drop=True)
    return None, table


def _rows(content: np.ndarray | pd.DataFrame, row_of: np.ndarray) -> np.ndarray | pd.DataFrame:
    """The rows of content at these positions, NaN at -1."""
    if isinstance(content, pd.DataFrame):
        if content.shape[1] == 1:  # a column of vectors, which may be missing
            return vectors([content.iloc[row, 0] if row >= 0 else None for row in row_of])
        return content.reset_index(drop=True).reindex(row_of.tolist()).reset_index(drop=True)
    if np.array_equal(row_of, np.arange(len(content))):
        return content
    found = content[np.maximum(row_of, 0)]
    if (row_of < 0).any():
        found = found.astype(np.result_type(found.dtype, np.float32))
        found[row_of < 0] = np.nan
    return found


def vectors(values: Sequence[object], where: str = "embeddings") -> np.ndarray:
    """Vectors as rows (n, d), NaN for one that is None.

    Raises:
        InputError: if there is none, or their lengths differ.
    """
    try:
        present = {
            place: np.asarray(value, dtype=np.float64).ravel() for place, value in enumerate(values) if _has(value)
        }
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} hold no numbers ({first_line(error)}); give vectors") from None
    widths = sorted({len(value) for value in present.values()})
    if not present:
        raise InputError(f"{where} hold no vector; compute them first")
    if len(widths) > 1:
        raise InputError(f"{where} hold vectors of different lengths ({widths[0]} and {widths[-1]}); give one length")
    rows = np.full((len(values), widths[0]), np.nan, dtype=np.float32)
    for place, value in present.items():
        rows[place] = value
    return rows


def _has(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and np.isnan(value))
