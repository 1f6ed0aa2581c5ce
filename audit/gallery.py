"""Which samples a reader is shown, and small pictures of them that travel with the result."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pandas as pd
from PIL import Image

from audit.samples import Samples, decode_image

MOST_SUSPICIOUS = 1000
LEAST_SUSPICIOUS_SHOWN = 200  # shown even where fewer are flagged
PER_CLASS = 12
CLASSES = 40
MISSED = 200
SIDE = 96


def shown_samples(scores: pd.DataFrame, explanations: pd.DataFrame) -> list[str]:
    """Ids of the samples that a report shows: the most suspicious, the most helpful and harmful of each class, the
    injected ones that were missed, and the explained ones with their neighbours."""
    by_suspicion = scores.sort_values("suspicion", ascending=False, kind="stable")
    count = min(MOST_SUSPICIOUS, max(LEAST_SUSPICIOUS_SHOWN, int(scores["flag"].sum())))
    ids: list[str] = list(by_suspicion.index[:count])
    by_influence = scores[scores["split"] == "train"].sort_values("influence", kind="stable")
    frequent = scores["label"].value_counts().index[:CLASSES]
    for _, rows in by_influence[by_influence["label"].isin(frequent)].groupby("label", sort=True):
        ids += [*rows.index[:PER_CLASS], *rows.index[-PER_CLASS:]]
    if "injected" in scores:
        ids += list(by_suspicion.index[by_suspicion["injected"] & ~by_suspicion["flag"]][:MISSED])
    ids += [*explanations["target"], *explanations["neighbour"]]
    return list(dict.fromkeys(ids))


def thumbnails(samples: Samples, ids: Iterable[str]) -> pd.DataFrame:
    """WebP images of at most 96 × 96 pixels, column `image`, indexed by id; without those that are gone by now."""
    rows = {sample_id: row for row, sample_id in enumerate(samples.ids)}
    images = {}
    for sample_id in ids:
        try:
            picture = decode_image(samples.images[rows[sample_id]])
        except (OSError, ValueError, SyntaxError):
            continue  # it was there when it was embedded: no reason to lose the audit now
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=82)
        images[sample_id] = buffer.getvalue()
    return pd.DataFrame({"image": list(images.values())}, index=pd.Index(list(images), name="id"), dtype=object)
