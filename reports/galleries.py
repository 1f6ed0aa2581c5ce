"""Choose the samples that the report shows as pictures. The page holds each sample and thumbnail once."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image

from audit.explain.nearest_table import GIVEN, OTHER
from audit.images.thumbnails import ThumbnailSettings
from audit.images.thumbnails import suspects as most_suspicious
from audit.result import AuditResult

MAX_GALLERY_CLASSES = 40
"""Number of classes whose most harmful and helpful samples are shown: the largest classes, as a result has thumbnails
only for these."""

SAMPLES_A_CLASS = 8  # pictures: one row of the page
MAX_EXPLAINED = 12  # samples shown with the training samples that help and harm them most

MAX_NEIGHBOURS = 100
"""Number of the most suspicious samples whose cards show other samples beside them."""

THUMBNAIL_BUDGET = 1_850_000
"""Largest number of bytes of thumbnails in a report, so that its file stays under 4 MB, also with those that are in the
page twice, for readers without JavaScript. Where they would be more, all but the first ones are made smaller; the last
galleries lose their pictures first."""


@dataclass(frozen=True, kw_only=True)
class SmallerPictures:
    """How pictures are made smaller where all of them would take too much."""

    # Pictures that keep their size: those that a reader sees first.
    kept: int = 100
    # Longest side in pixels, and quality of WebP, of the others.
    side: int = 56
    quality: int = 50


SMALLER = SmallerPictures()


@dataclass(frozen=True)
class ShownSample:
    """A sample as the page shows it.

    Attributes:
        id, path, split: of the sample; path is None if its image is not a file.
        key: what the source calls it; None if that is the id.
        given, suggested, other, original: the given, the suggested, the likeliest other label, and the one before
            injection, as text.
        flag, injected: as in the scores; injected is None if the audit injected nothing.
        thumbnail, heat_map: positions among the page's thumbnails; None if the sample has none.
        suspicion: not rounded, so that the page compares it with the threshold exactly as the audit did.
        suggested_probability, other_probability, influence, self_influence, loo_probability: as in the scores, to six
            digits; None if a score is not finite.
    """

    id: str
    key: str | None
    path: str | None
    split: str
    given: str
    suggested: str | None
    other: str | None
    flag: bool
    injected: bool | None
    original: str | None
    thumbnail: int | None
    heat_map: int | None
    suspicion: float
    suggested_probability: float | None
    other_probability: float | None
    influence: float | None
    self_influence: float | None
    loo_probability: float | None


@dataclass(frozen=True)
class ClassGallery:
    """The most harmful and most helpful training samples of a class, as positions in `Galleries.samples`."""

    label: str
    harmful: list[int]
    helpful: list[int]


@dataclass(frozen=True)
class Explained:
    """A sample, and the training samples that help and harm its prediction most.

    Attributes:
        target: its position.
        label: the label that its loss is computed for.
        predicted: the class that the head predicts.
        helpful, harmful: position and pairwise influence of each training sample, the strongest first.
    """

    target: int
    label: str
    predicted: str
    helpful: list[tuple[int, float | None]]
    harmful: list[tuple[int, float | None]]


@dataclass(frozen=True)
class NearestPictures:
    """The samples whose pictures are most like a suspect's, as positions in `Galleries.samples`, the nearest first.

    Attributes:
        given: those with its given label.
        other: those with the likeliest other label.
    """

    given: list[int]
    other: list[int]


@dataclass(frozen=True)
class Galleries:
    """The samples of all galleries. Galleries refer to samples by their position in `samples`.

    Which samples are flagged, missed or unexpected depends on the threshold, so the page chooses them from `suspects`.

    Attributes:
        suspects: the most suspicious samples, by falling suspicion.
        explained: validation samples with their explanations.
        nearest: what each of the first suspects is compared with, by the suspect's position.
        neighbours: the explanation of each suspect, by the suspect's position.
        neighbours_bounded: whether some suspects have no explanation because the amount of work is limited.
        classes: the galleries of the largest classes.
        classes_total: how many classes there are.
        samples: all shown samples, each once.
        thumbnails: base64 WebP.
        thumbnails_left_out: number of thumbnails left out because the page would become too large.
    """

    suspects: list[int]
    explained: list[Explained]
    nearest: dict[int, NearestPictures]
    neighbours: dict[int, Explained]
    neighbours_bounded: bool
    classes: list[ClassGallery]
    classes_total: int
    samples: list[ShownSample]
    thumbnails: list[str]
    thumbnails_left_out: int


def gallery_values(result: AuditResult) -> Galleries:
    """Choose the samples of all galleries."""
    shelf = _Shelf(result)
    suspects = shelf.put(result.scores.loc[most_suspicious(result.scores)])
    ranked = len(suspects)
    if "injected" in result.scores:
        by_suspicion = result.scores.sort_values("suspicion", ascending=False, kind="stable")
        missed = by_suspicion[by_suspicion["injected"] & ~by_suspicion["flag"]].head(ThumbnailSettings.compared)
        unexpected = by_suspicion[~by_suspicion["injected"] & by_suspicion["flag"]].head(ThumbnailSettings.compared)
        suspects = sorted(
            {*suspects, *shelf.put(missed), *shelf.put(unexpected)}, key=lambda place: (shelf.rank(place), place)
        )
    first = [shelf.samples[place].id for place in suspects[:MAX_NEIGHBOURS]]
    nearest = _nearest(result, shelf, first)
    explained = _explained(result, shelf, ("validation",))[:MAX_EXPLAINED]
    classes = _classes(result, shelf)
    # Last, so that these are the first to have no picture if the page becomes too large.
    neighbours = {entry.target: entry for entry in _explained(result, shelf, ("flagged", "unflagged"), first)}
    return Galleries(
        suspects=suspects,
        explained=explained,
        nearest=nearest,
        neighbours=neighbours,
        neighbours_bounded=len(neighbours) < ranked,
        classes=classes,
        classes_total=len(result.summary.classes),
        samples=shelf.samples,
        thumbnails=shelf.thumbnails,
        thumbnails_left_out=shelf.left_out,
    )


class _Shelf:
    """Collects each sample once, with its thumbnail until the page has as many bytes of them as it may."""

    def __init__(self, result: AuditResult) -> None:
        pictures = result.thumbnails
        self._images = pictures["image"].to_dict() if len(pictures) else {}
        self._heat_maps = pictures["heat_map"].dropna().to_dict() if "heat_map" in pictures else {}
        self._positions: dict[Any, int] = {}
        self._bytes = 0
        everything = [*self._images.values(), *self._heat_maps.values()]
        self._sharp = math.inf if sum(map(len, everything)) <= THUMBNAIL_BUDGET else SMALLER.kept
        self.samples: list[ShownSample] = []
        self.thumbnails: list[str] = []
        self.left_out = 0

    def rank(self, position: int) -> float:
        """A sort key that puts the most suspicious first."""
        return -float(self.samples[position].suspicion)

    def put(self, rows: pd.DataFrame) -> list[int]:
        positions = []
        for identifier, row in zip(rows.index, rows.to_dict("records"), strict=True):
            if identifier not in self._positions:
                self._positions[identifier] = len(self.samples)
                thumbnail = self._place(self._images.get(identifier))
                heat_map = self._place(self._heat_maps.get(identifier))
                self.samples.append(_sample(identifier, row, thumbnail, heat_map))
            positions.append(self._positions[identifier])
        return positions

    def _place(self, image: Any) -> int | None:
        """Add the picture to the thumbnails and return its position there."""
        if not isinstance(image, bytes):
            return None
        if len(self.thumbnails) >= self._sharp:
            image = _smaller(image)
        if self._bytes + len(image) > THUMBNAIL_BUDGET:
            self.left_out += 1
            return None
        self._bytes += len(image)
        self.thumbnails.append(base64.b64encode(image).decode("ascii"))
        return len(self.thumbnails) - 1


def _smaller(image: bytes) -> bytes:
    """The picture in fewer bytes, or as it is if that would take no fewer."""
    with Image.open(io.BytesIO(image)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((SMALLER.side, SMALLER.side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=SMALLER.quality)
    return min(buffer.getvalue(), image, key=len)


def _sample(identifier: Any, row: dict[Any, Any], thumbnail: int | None, heat_map: int | None) -> ShownSample:
    return ShownSample(
        id=str(identifier),
        key=None if (key := _text(row.get("key"))) == str(identifier) else key,
        path=_text(row.get("filepath")),
        split=str(row["split"]),
        given=str(row["label"]),
        suggested=_text(row["suggested_label"]),
        other=_text(row["other_label"]),
        flag=bool(row["flag"]),
        injected=bool(row["injected"]) if "injected" in row else None,
        original=_text(row.get("original_label")),
        thumbnail=thumbnail,
        heat_map=heat_map,
        suspicion=float(row["suspicion"]),
        suggested_probability=_number(row["suggested_probability"]),
        other_probability=_number(row["other_probability"]),
        influence=_number(row["influence"]),
        self_influence=_number(row["self_influence"]),
        loo_probability=_number(row["loo_probability"]),
    )


def _classes(result: AuditResult, shelf: _Shelf) -> list[ClassGallery]:
    scores = result.scores
    trained_on = scores[scores["split"] == "train"].dropna(subset=["influence"])
    groups = dict(list(trained_on.groupby("label", sort=False)))
    largest = set(scores["label"].value_counts().index[:MAX_GALLERY_CLASSES])
    classes = []
    for label in result.summary.classes:
        if label not in groups or label not in largest:
            continue
        ranked = groups[label].sort_values("influence", kind="stable")
        harmful = ranked[ranked["influence"] < 0].head(SAMPLES_A_CLASS)
        helpful = ranked[ranked["influence"] > 0].iloc[::-1].head(SAMPLES_A_CLASS)
        classes.append(ClassGallery(str(label), shelf.put(harmful), shelf.put(helpful)))
    return classes


def _explained(
    result: AuditResult, shelf: _Shelf, reasons: tuple[str, ...], targets: Sequence[str] | None = None
) -> list[Explained]:
    """The explanations that were made for these reasons; with `targets`, of these samples only."""
    known, scored = result.explanations, result.scores.index
    if targets is not None:
        known = known[known["target"].astype(str).isin(targets)]
    known = known[known["reason"].isin(reasons) & known["target"].isin(scored) & known["neighbour"].isin(scored)]
    # All samples are looked up at once, which is faster than one by one for a thousand targets.
    rows = known[["target", "neighbour"]].to_numpy().ravel()
    places = dict(zip(unique := pd.unique(rows), shelf.put(result.scores.loc[unique]), strict=True))
    first = known.drop_duplicates("target").set_index("target")
    by_kind: dict[str, dict[str, list[tuple[int, float | None]]]] = {
        target: {"helpful": [], "harmful": []} for target in first.index
    }
    # All are sorted at once, which is faster than one target after the other.
    ranked = known.sort_values("rank", kind="stable")[["target", "kind", "neighbour", "influence"]]
    for target, kind, neighbour, influence in ranked.itertuples(index=False):
        by_kind[target][kind].append((places[neighbour], _number(influence)))
    return [
        Explained(places[target], str(label), str(predicted), **by_kind[target])
        for target, label, predicted in zip(first.index, first["label"], first["predicted"], strict=True)
    ]


def _nearest(result: AuditResult, shelf: _Shelf, targets: Sequence[str]) -> dict[int, NearestPictures]:
    """The samples that are compared with each of these, by the target's position; those without any are left out."""
    known, scored = result.nearest, result.scores.index
    known = known[known["target"].astype(str).isin(targets) & known["neighbour"].isin(scored)]
    rows = known[["target", "neighbour"]].to_numpy().ravel()
    places = dict(zip(unique := pd.unique(rows), shelf.put(result.scores.loc[unique]), strict=True))
    found = {}
    for target, group in known.groupby("target", sort=False):
        of_kind = {
            kind: [places[neighbour] for neighbour in ranked["neighbour"]]
            for kind, ranked in group.sort_values("rank", kind="stable").groupby("kind", sort=False)
        }
        found[places[target]] = NearestPictures(of_kind.get(GIVEN, []), of_kind.get(OTHER, []))
    return found


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def _number(value: Any) -> float | None:
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None
