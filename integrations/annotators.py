"""Several label columns of the same samples, each by one annotator: their names, and their labels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from audit.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from audit.data.samples import Samples
    from integrations.sources.labelled_images import LabelledImages


def annotator_names(label_fields: Sequence[str], label_column: str | None, keep_labels: object) -> tuple[str, ...]:
    """The columns or fields that --annotators refers to.

    Args:
        label_fields: what --label-field names: several, or one text with commas.
        label_column: what --label-column names, with commas.
        keep_labels: what --keep-labels names.

    Raises:
        InputError: if there are fewer than two, one is named twice, or classes are chosen.
    """
    if label_fields and label_column:
        raise InputError("--annotators takes --label-field or --label-column, and both were given; use one of them")
    if keep_labels:
        raise InputError("--keep-labels chooses samples by one label, and --annotators have several; leave it out")
    named = [label_column] if label_column else list(label_fields)
    names = [part.strip() for part in named[0].split(",")] if len(named) == 1 else named
    names = [name for name in names if name]
    if len(names) < 2:
        raise InputError(
            f"--annotators needs two label columns or more, and {len(names)} was named; give --label-field FIRST,SECOND"
        )
    if len(set(names)) < len(names):
        raise InputError(f"--label-field names an annotator twice ({', '.join(names)}); name each once")
    return tuple(names)


def labels_side_by_side(sources: Mapping[str, LabelledImages]) -> pd.DataFrame:
    """The labels of each annotator (a column) by the source's key of the sample; None where one is missing.

    Args:
        sources: by annotator: the same images, each read with another label column.
    """
    import pandas as pd

    labels = {name: {image.source_id: image.label for image in images} for name, images in sources.items()}
    keys = list(dict.fromkeys(key for found in labels.values() for key in found))
    columns = {name: [found.get(key) for key in keys] for name, found in labels.items()}
    return pd.DataFrame(columns, index=keys, dtype=object)


def tables_side_by_side(tables: Mapping[str, Samples]) -> pd.DataFrame:
    """The same of a table without images, in the order of its rows, each read with another label column."""
    import pandas as pd

    return pd.DataFrame({name: list(table.labels) for name, table in tables.items()}, dtype=object)
