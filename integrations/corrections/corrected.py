"""A source's labels in the source's own form, and the same with some labels changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit.result import AuditResult
    from audit.summary.surroundings import AuditedDataset
    from integrations.corrections.output import Corrected


def corrected_source(result: AuditResult, source: AuditedDataset, hard_links: bool = False) -> Corrected:
    """How the source of an audit is written with other labels.

    Args:
        result: of the audit.
        source: what was audited.
        hard_links: for a folder of images, whether its files are linked and not copied.

    Raises:
        InputError: if the source is gone, or cannot be read as it was.
    """
    if source.annotators:
        from integrations.corrections.consensus import consensus_beside

        return consensus_beside(result, source)
    from integrations.sources.huggingface import is_saved_to_disk

    kind, _, place = source.source.partition(":")
    if source.without_images:
        from integrations.corrections.labels_table import corrected_labels

        return corrected_labels(Path(place), source.label_column)
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
    if kind == "hf" and is_saved_to_disk(Path(place)):
        from integrations.corrections.saved import corrected_saved

        return corrected_saved(Path(place), source.label_column)
    from integrations.corrections.tables import plain_labels

    return plain_labels(source)
