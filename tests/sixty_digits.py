"""Sixty digits of three classes in FiftyOne, as they are or with an audit that no model computed.

Importing this module starts FiftyOne's database.
"""

from __future__ import annotations

import fiftyone as fo

from integrations.fiftyone import write_result
from integrations.fiftyone.importing import import_images
from integrations.sources.digits import digits
from integrations.sources.labelled_images import LabelledImages
from tests.fiftyone.made_up import made_up_result


def sixty_digits(name: str) -> fo.Dataset:
    """A dataset of this name without an audit."""
    listed = list(digits(["0", "1", "2"]))[:60]
    import_images(LabelledImages("digits", "digits", 60, lambda: iter(listed)), name)
    return fo.load_dataset(name)


def audited_digits(name: str) -> fo.Dataset:
    """A dataset of this name with a written audit, of which about a fifth is flagged."""
    dataset = sixty_digits(name)
    write_result(dataset, made_up_result(dataset, inject=False))
    dataset.reload()
    return dataset
