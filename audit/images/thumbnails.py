"""Which samples a reader is shown, and small pictures of them that travel with the result."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import pandas as pd
from PIL import Image

from audit.data.samples import Samples
from audit.images.decoding import decode_image
from audit.images.pillow_warnings import listening

MOST_SUSPECTS = 1000
NOT_FLAGGED = 200  # suspects below the threshold, to be shown where it is lowered
PER_CLASS = 12
CLASSES = 40
COMPARED = 120  # injected and missed, and flagged but not injected
SIDE = 96
NEIGHBOUR_SIDE = 48  # of those that are shown only beside another sample


def suspects(scores: pd.DataFrame) -> list[str]:
    """Ids of the most suspicious samples, in that order: the flagged and some below the threshold, 1000 at most."""
    by_suspicion = scores["suspicion"].sort_values(ascending=False, kind="stable")
    ids: list[str] = list(by_suspicion.index[: min(MOST_SUSPECTS, int(scores["flag"].sum()) + NOT_FLAGGED)])
    return ids


def shown_samples(scores: pd.DataFrame, explanations: pd.DataFrame) -> list[str]:
    """Ids of the samples that a report shows for their own sake: the suspects, the most helpful and harmful of each
    class, those that were injected and missed or flagged but not injected, and the explained ones with the neighbours
    of validation samples."""
    ids = suspects(scores)
    by_suspicion = scores.sort_values("suspicion", ascending=False, kind="stable")
    by_influence = scores[scores["split"] == "train"].sort_values("influence", kind="stable")
    frequent = scores["label"].value_counts().index[:CLASSES]
    for _, rows in by_influence[by_influence["label"].isin(frequent)].groupby("label", sort=True):
        ids += [*rows.index[:PER_CLASS], *rows.index[-PER_CLASS:]]
    if "injected" in scores:
        flagged, injected = by_suspicion["flag"], by_suspicion["injected"]
        ids += [
            *by_suspicion.index[injected & ~flagged][:COMPARED],
            *by_suspicion.index[flagged & ~injected][:COMPARED],
        ]
    ids += [*explanations["target"], *explanations.loc[explanations["reason"] == "validation", "neighbour"]]
    return list(dict.fromkeys(ids))


def thumbnails(samples: Samples, shown: Sequence[str], beside: Iterable[str] = ()) -> pd.DataFrame:
    """WebP images by id, column `image`, without those that are gone by now.

    Args:
        samples: where the images are.
        shown: ids of at most 96 × 96 pixels.
        beside: ids of at most 48 × 48 pixels, where they are not among those.
    """
    rows = {sample_id: row for row, sample_id in enumerate(samples.ids)}
    images = {}
    large = dict.fromkeys(shown, SIDE)
    wanted = large | {neighbour: NEIGHBOUR_SIDE for neighbour in beside if neighbour not in large}
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
