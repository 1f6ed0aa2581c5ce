"""Why a sample was flagged or not, as a page with pictures: `influence-audit explain --page`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audit.data.samples import Samples
from audit.images.thumbnails import thumbnails
from audit.result import AuditResult
from reports.page import asset, environment, policy, write_page

AMONG_ALL, AMONG_LABEL, HARMED = "all", "label", "validation"
"""Among which samples: all training samples, those of the sample's label, or the validation samples that it harms."""


@dataclass(frozen=True)
class Neighbour:
    """A sample that explains another one.

    Attributes:
        id: its id.
        label: that it was trained on with, or should be predicted as.
        influence: on the loss of the explained sample's label (nats times n); of a harmed sample, on its own loss.
        filepath: its image; None if that was no file.
    """

    id: str
    label: str
    influence: float
    filepath: str | None


@dataclass(frozen=True)
class NeighbourGroup:
    """Samples that explain another one in the same way.

    Attributes:
        among: 'all' training samples, those of the sample's 'label', or 'validation'.
        kind: 'helpful' (speaks for the label), 'harmful' (against it), or 'harmed' (by the sample).
        title: the same in words.
        samples: the strongest first.
    """

    among: str
    kind: str
    title: str
    samples: tuple[Neighbour, ...]


@dataclass(frozen=True)
class ExplainedSample:
    """A sample, what the audit says of it, and the samples that explain it."""

    id: str
    filepath: str | None
    split: str
    label: str
    suspicion: float
    flag: bool
    suggested_label: str
    suggested_probability: float
    groups: tuple[NeighbourGroup, ...]


def group_of(among: str, kind: str, title: str, table: pd.DataFrame, scores: pd.DataFrame) -> NeighbourGroup:
    """A group by a table of `audit.explain.samples`, with columns neighbour, label and influence."""
    paths = scores["filepath"]
    samples = (
        Neighbour(str(row["neighbour"]), str(row["label"]), float(row["influence"]), _path(paths.get(row["neighbour"])))
        for row in table.to_dict("records")
    )
    return NeighbourGroup(among, kind, title, tuple(samples))


def explained_sample(result: AuditResult, sample_id: str, groups: Sequence[NeighbourGroup]) -> ExplainedSample:
    """A sample of a result with the groups that explain it."""
    row = result.scores.loc[sample_id].to_dict()
    return ExplainedSample(
        id=str(sample_id),
        filepath=_path(row["filepath"]),
        split=str(row["split"]),
        label=str(row["label"]),
        suspicion=float(row["suspicion"]),
        flag=bool(row["flag"]),
        suggested_label=str(row["suggested_label"]),
        suggested_probability=float(row["suggested_probability"]),
        groups=tuple(groups),
    )


def write_explanation(
    result: AuditResult, explained: ExplainedSample, path: str | Path, heat_map: bytes | None = None
) -> Path:
    """Write the page: one self-contained file.

    Args:
        result: that the sample is of.
        explained: the sample.
        path: the HTML file.
        heat_map: a WebP picture of where the sample's influence comes from; None for none.

    Raises:
        InputError: if the file cannot be written.
    """
    style = asset("report.css") + "\n" + asset("compare.css")
    wanted = [explained.id, *(sample.id for group in explained.groups for sample in group.samples)]
    values = {
        "title": f"Sample {explained.id}",
        "sample": explained,
        "pictures": _pictures(result, wanted),
        "heat_map": None if heat_map is None else _data_url(heat_map),
        "style": style,
        "theme_script": asset("theme.js"),
        "policy": policy([asset("theme.js")], style),
    }
    return write_page(environment().get_template("explain.html.j2").render(values), path)


def _pictures(result: AuditResult, ids: Sequence[str]) -> dict[str, str]:
    """The thumbnails of samples as data URLs, by id: those of the result, and others from the files."""
    known = result.thumbnails["image"].to_dict() if len(result.thumbnails) else {}
    images: dict[Any, bytes] = {each: known[each] for each in ids if isinstance(known.get(each), bytes)}
    left = [each for each in dict.fromkeys(ids) if each not in images and each in result.scores.index]
    files = result.scores.loc[left, "filepath"]
    files = files[[isinstance(path, str) for path in files]]
    if len(files):
        samples = Samples(list(files.index), list(files), [None] * len(files))
        images |= thumbnails(samples, list(files.index))["image"].to_dict()
    return {str(each): _data_url(image) for each, image in images.items()}


def _data_url(image: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(image).decode('ascii')}"


def _path(value: object) -> str | None:
    return value if isinstance(value, str) else None
