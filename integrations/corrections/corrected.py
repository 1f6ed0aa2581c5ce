"""A source's labels in the source's own form, and the same with some labels changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InputError

if TYPE_CHECKING:
    from audit.summary.surroundings import AuditedDataset
    from integrations.corrections.output import Corrected


def corrected_source(source: AuditedDataset, hard_links: bool = False) -> Corrected:
    """How the source of an audit is written with other labels.

    Args:
        source: what was audited.
        hard_links: for a folder of images, whether its files are linked and not copied.

    Raises:
        InputError: if the source is gone, or cannot be read as it was.
    """
    if source.annotators:
        raise InputError(
            "the audited labels are the consensus of several columns, which the source has no place for; "
            "`influence-audit export RESULT -o labels.csv --all` writes them"
        )
    kind, _, place = source.source.partition(":")
    if kind == "table":
        from integrations.corrections.tables import corrected_tables

        return corrected_tables(Path(place), source)
    if kind == "coco":
        from integrations.corrections.tables import corrected_coco

        return corrected_coco(Path(place))
    if kind == "parquet":
        from integrations.corrections.parquet import corrected_parquet

        return corrected_parquet(Path(place), source.label_column)
    if kind == "folder":
        from integrations.corrections.folder import corrected_folder

        return corrected_folder(Path(place), source.options.get("layout"), hard_links)
    from integrations.corrections.tables import plain_labels

    return plain_labels(source)
