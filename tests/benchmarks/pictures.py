"""The pictures of the development data, for the benchmarks of findings."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from PIL import Image

from tests.benchmarks.data import data_set


def read(name: str) -> tuple[list[Image.Image], pd.DataFrame]:
    """The pictures of a development set, and its other columns."""
    files = sorted(data_set(name).glob("*.parquet"))
    table = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
    pictures = [Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in table["image"]]
    return pictures, table.drop(columns="image")


def files_of(pictures: Iterable[Image.Image], folder: Path) -> list[str]:
    """The pictures as PNG files."""
    paths = []
    for row, picture in enumerate(pictures):
        paths.append(str(folder / f"{row}.png"))
        picture.save(paths[-1])
    return paths
