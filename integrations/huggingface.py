"""Hugging Face `datasets`: from the hub, from local parquet files, or saved to disk."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import InputError
from audit.samples import standard_split
from integrations.class_choice import chosen_classes
from integrations.labelled_images import LabelledImage, LabelledImages

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

HUB_TIMEOUT = 5.0  # seconds until the hub counts as unreachable
LABEL_NAMES = ("label", "labels", "class", "fine_label", "target", "category")
UNNAMED_SPLIT = "data"
SAVED_TO_DISK = ("dataset_dict.json", "dataset_info.json")


def hub_dataset(
    name: str,
    image_column: str | None = None,
    label_column: str | None = None,
    keep_labels: Sequence[str] | None = None,
) -> LabelledImages:
    """A dataset from the Hugging Face hub, all its splits.

    Args:
        name: 'organisation/name', or 'organisation/name:configuration' where it has several configurations.
        image_column: the column with the images; by default the one that holds images.
        label_column: the column with the labels; by default the one that holds class labels.
        keep_labels: class names or their numbers; all by default.

    Raises:
        InputError: if the hub cannot be reached, has no such dataset, or the dataset has no such columns or classes.
    """
    from datasets import load_dataset

    repository, _, configuration = name.partition(":")
    with _hub_or_cache(repository):
        tables = _loaded(f"hf:{name}", lambda: load_dataset(repository, configuration or None))
    return _labelled_images(repository, f"hf:{name}", tables, image_column, label_column, keep_labels)


def parquet_files(
    path: str | Path,
    image_column: str | None = None,
    label_column: str | None = None,
    keep_labels: Sequence[str] | None = None,
) -> LabelledImages:
    """A local parquet file, or the parquet files below a folder, in Hugging Face `datasets` form.

    The file names give the splits: train-00000-of-00002.parquet, valid.parquet, test.parquet.

    Args:
        path: the file or folder.
        image_column, label_column, keep_labels: as in `hub_dataset`.

    Raises:
        InputError: if there is no parquet file, one is damaged, or there are no such columns or classes.
    """
    from datasets import load_dataset

    path = Path(path).expanduser().absolute()
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise InputError(f"{str(path)!r} is no parquet file and no folder with *.parquet files; give one that is")
    splits: dict[str, list[str]] = defaultdict(list)
    for file in files:
        splits[_split_of(file) or UNNAMED_SPLIT].append(str(file))
    ordered = {split: splits[split] for split in ("train", "validation", "test", UNNAMED_SPLIT) if split in splits}
    description = f"parquet:{path}"
    tables = _loaded(description, lambda: load_dataset("parquet", data_files=ordered))
    name = path.parent.name if path.is_file() and _split_of(path) else path.stem
    return _labelled_images(name, description, tables, image_column, label_column, keep_labels)


def saved_to_disk(
    folder: str | Path,
    image_column: str | None = None,
    label_column: str | None = None,
    keep_labels: Sequence[str] | None = None,
) -> LabelledImages:
    """A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote.

    Args:
        folder: the folder.
        image_column, label_column, keep_labels: as in `hub_dataset`.

    Raises:
        InputError: if the folder holds no such dataset, or there are no such columns or classes.
    """
    from datasets import load_from_disk

    folder = Path(folder).expanduser().absolute()
    description = f"hf:{folder}"
    tables = _loaded(description, lambda: load_from_disk(str(folder)))
    return _labelled_images(folder.name, description, tables, image_column, label_column, keep_labels)


def is_saved_to_disk(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any((folder / name).is_file() for name in SAVED_TO_DISK)


def _split_of(file: Path) -> str | None:
    word = re.match(r"[A-Za-z]*", file.stem)
    return standard_split(word.group() if word else None)


@contextmanager
def _hub_or_cache(repository: str) -> Iterator[None]:
    """Go on with the hub, or with its copy in the cache where it cannot be reached; a closed network costs seconds.

    Asking once first is what makes that quick: `load_dataset` itself retries for half a minute.
    """
    import datasets
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().dataset_info(repository, timeout=HUB_TIMEOUT)
    except (HFValidationError, HfHubHTTPError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"dataset {repository!r} cannot be read from the Hugging Face hub ({reason}); "
            "check its name, and log in with `hf auth login` if it is private"
        ) from None
    except Exception as error:  # the http client's own errors differ between its versions
        if not (Path(datasets.config.HF_DATASETS_CACHE) / repository.replace("/", "___")).is_dir():
            raise InputError(
                f"dataset {repository!r} cannot be had: the Hugging Face hub cannot be reached "
                f"({type(error).__name__}); download its parquet files where there is a network and give their folder"
            ) from None
        was_offline = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = was_offline
    else:
        yield


def _loaded(description: str, load: Any) -> DatasetDict:
    """The dataset as a dictionary of splits, its errors in one line."""
    import datasets

    had_bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        loaded = load()
    except Exception as error:  # `datasets` raises what its readers raise, from OSError to pyarrow's errors
        cause = error.__cause__ or error
        raise InputError(
            f"{description} cannot be read as a dataset ({type(cause).__name__}: {_first_line(cause)}); "
            "check the files, or give the configuration as hf:ORGANISATION/NAME:CONFIGURATION"
        ) from None
    finally:
        if had_bars:
            datasets.enable_progress_bars()
    return loaded if isinstance(loaded, datasets.DatasetDict) else datasets.DatasetDict({_own_split(loaded): loaded})


def _own_split(table: Dataset) -> str:
    return str(table.split) if table.split is not None else UNNAMED_SPLIT


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]


def _labelled_images(
    name: str,
    description: str,
    tables: DatasetDict,
    image_column: str | None,
    label_column: str | None,
    keep_labels: Sequence[str] | None,
) -> LabelledImages:
    from datasets import Image

    features = next(iter(tables.values())).features
    image_column = _image_column(description, features, image_column)
    label_column = _label_column(description, features, label_column, image_column)
    labels = {split: _class_names(table, label_column) for split, table in tables.items()}
    named = getattr(features[label_column], "names", None)
    classes = named or sorted({label for column in labels.values() for label in column if label is not None})
    kept = chosen_classes(keep_labels, classes, description, numbered=named is not None)
    rows = {
        split: [row for row, label in enumerate(column) if kept is None or label in kept]
        for split, column in labels.items()
    }

    def read() -> Iterator[LabelledImage]:
        for split, table in tables.items():
            # Undecoded: the encoded bytes are written as they are, so that nothing is lost and nothing is done twice.
            images = table.select_columns([image_column]).cast_column(image_column, Image(decode=False))
            images = images.select(rows[split])
            for row, image in zip(rows[split], images, strict=True):
                content = _encoded(image[image_column])
                yield LabelledImage(f"{split}/{row:06d}", content, labels[split][row], standard_split(split))

    return LabelledImages(name, description, sum(map(len, rows.values())), read, kept)


def _encoded(image: dict[str, Any] | None) -> bytes | Path | None:
    if image is None:
        return None
    if image.get("bytes") is not None:
        return bytes(image["bytes"])
    return Path(image["path"]) if image.get("path") else None


def _class_names(table: Dataset, column: str) -> list[str | None]:
    """The class name of every row; None where the label is null, NaN, blank, or -1 (the hub's unlabelled test sets)."""
    from datasets import ClassLabel

    feature = table.features[column]
    values = table[column][:]
    if isinstance(feature, ClassLabel) and feature.names:
        names = feature.names
        return [None if value is None or value < 0 else names[value] for value in values]
    if all(value is None or isinstance(value, int) for value in values):
        return [None if value is None or value == -1 else str(value) for value in values]
    return [None if value is None or value != value or not str(value).strip() else str(value) for value in values]


def _image_column(description: str, features: Any, wanted: str | None) -> str:
    columns = list(features)
    holding = [column for column in columns if _holds_images(features[column])]
    if wanted is not None:
        _check_column(description, "image", wanted, columns)
        if wanted not in holding:
            raise InputError(
                f"image column {wanted!r} of {description} holds no encoded images; "
                f"these do: {', '.join(holding) or 'none'}"
            )
        return wanted
    if not holding:
        raise InputError(f"{description} has no column with encoded images; its columns are: {', '.join(columns)}")
    if len(holding) > 1 and "image" not in holding:
        raise InputError(f"{description} has several image columns; choose one with --image-column: {_or(holding)}")
    return "image" if "image" in holding else holding[0]


def _holds_images(feature: Any) -> bool:
    from datasets import Image

    return isinstance(feature, Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _label_column(description: str, features: Any, wanted: str | None, image_column: str) -> str:
    from datasets import ClassLabel, Value

    columns = list(features)
    if wanted is not None:
        _check_column(description, "label", wanted, columns)
        if wanted == image_column or not isinstance(features[wanted], ClassLabel | Value):
            raise InputError(f"label column {wanted!r} of {description} holds no single label a row; choose another")
        return wanted
    class_labels = [column for column in columns if isinstance(features[column], ClassLabel)]
    values = [column for column in columns if isinstance(features[column], Value)]
    for candidates in (class_labels, values):
        for name in LABEL_NAMES:
            if name in candidates:
                return name
    if len(class_labels) == 1:
        return class_labels[0]
    raise InputError(
        f"{description} has no column that is plainly the label; choose one with --label-column: "
        f"{_or(class_labels or [column for column in columns if column != image_column])}"
    )


def _check_column(description: str, kind: str, wanted: str, columns: list[str]) -> None:
    if wanted not in columns:
        raise InputError(f"{kind} column {wanted!r} is not in {description}; its columns are: {', '.join(columns)}")


def _or(names: list[str]) -> str:
    return ", ".join(names) or "there is none"
