"""The samples that a report shows, and thumbnails of them that are saved with the result."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from audit.data.samples import Samples
from audit.images.decoding import decode_image
from audit.images.pillow_warnings import listening


@dataclass(frozen=True, kw_only=True)
class ThumbnailSettings:
    """How many samples get a thumbnail, and how large it is."""

    # Most suspects; and suspects below the threshold, which a reader sees on lowering it.
    suspects: int = 1000
    unflagged_suspects: int = 200
    # The most helpful and the most harmful samples of a class, of the classes with most samples.
    per_class: int = 12
    classes: int = 40
    # Injected samples that were missed, and flagged samples that were not injected.
    compared: int = 120
    # Longest side in pixels; and that of samples that are only shown beside another.
    side: int = 96
    neighbour_side: int = 48


DEFAULTS = ThumbnailSettings()


def suspects(scores: pd.DataFrame, settings: ThumbnailSettings = DEFAULTS) -> list[str]:
    """Ids of the most suspicious samples, in that order: the flagged ones, and some below the threshold."""
    most = min(settings.suspects, int(scores["flag"].sum()) + settings.unflagged_suspects)
    by_suspicion = scores["suspicion"].sort_values(ascending=False, kind="stable")
    ids: list[str] = list(by_suspicion.index[:most])
    return ids


def shown_samples(
    scores: pd.DataFrame, explanations: pd.DataFrame, settings: ThumbnailSettings = DEFAULTS
) -> list[str]:
    """Ids of the samples that a report shows for their own sake: the suspects, the most helpful and harmful of each
    class, those that were injected and missed or flagged but not injected, and the explained ones with the neighbours
    of validation samples."""
    ids = suspects(scores, settings)
    by_suspicion = scores.sort_values("suspicion", ascending=False, kind="stable")
    by_influence = scores[scores["split"] == "train"].dropna(subset="influence").sort_values("influence", kind="stable")
    frequent = scores["label"].value_counts().index[: settings.classes]
    for _, rows in by_influence[by_influence["label"].isin(frequent)].groupby("label", sort=True):
        ids += [*rows.index[: settings.per_class], *rows.index[-settings.per_class :]]
    if "injected" in scores:
        flagged, injected = by_suspicion["flag"], by_suspicion["injected"]
        ids += [
            *by_suspicion.index[injected & ~flagged][: settings.compared],
            *by_suspicion.index[flagged & ~injected][: settings.compared],
        ]
    ids += [*explanations["target"], *explanations.loc[explanations["reason"] == "validation", "neighbour"]]
    return list(dict.fromkeys(ids))


def thumbnails(
    samples: Samples, shown: Sequence[str], beside: Iterable[str] = (), settings: ThumbnailSettings = DEFAULTS
) -> pd.DataFrame:
    """Thumbnails as WebP by id, column `image`; images that no longer exist are left out.

    Args:
        samples: where the images are.
        shown: ids of the samples that are shown for their own sake.
        beside: ids of those that are shown beside another, at a smaller size unless they are in `shown`.
        settings: the sizes.
    """
    rows = {sample_id: row for row, sample_id in enumerate(samples.ids)}
    images = {}
    large = dict.fromkeys(shown, settings.side)
    wanted = large | {neighbour: settings.neighbour_side for neighbour in beside if neighbour not in large}
    with listening():  # what Pillow says of them was noted when they were embedded
        for sample_id, side in wanted.items():
            try:
                picture = decode_image(samples.images[rows[sample_id]])
            except (OSError, ValueError, SyntaxError):
                continue  # it was there when it was embedded: no reason to lose the audit now
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=82)
            images[sample_id] = buffer.getvalue()
    return pd.DataFrame({"image": list(images.values())}, index=pd.Index(list(images), name="id"), dtype=object)


def missing_thumbnails(
    scores: pd.DataFrame, explanations: pd.DataFrame, known: pd.DataFrame, settings: ThumbnailSettings = DEFAULTS
) -> pd.DataFrame:
    """Thumbnails of the samples that a report shows since their suspicions changed; of image files only.

    Args:
        scores: of the result, with the column filepath.
        explanations: of the result.
        known: the thumbnails that it has; empty where the audit saw no images, and then there are no new ones.
        settings: the sizes.
    """
    shown = [name for name in shown_samples(scores, explanations, settings) if name not in known.index]
    files = scores["filepath"].reindex(shown)
    files = files[[isinstance(path, str) for path in files]]
    if not len(known) or not len(files):
        return known[:0]
    samples = Samples(list(files.index), list(files), [None] * len(files))
    return thumbnails(samples, list(files.index), settings=settings)
