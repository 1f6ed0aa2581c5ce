"""Hugging Face `datasets`: from the hub, from local parquet files, or saved to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from audit.data.samples import standard_split
from audit.errors import InputError
from integrations.sources.class_choice import chosen_classes
from integrations.sources.dataset_columns import class_names, find_image_column, find_label_column, rows_without_image
from integrations.sources.labelled_images import LabelledImage, LabelledImages
from integrations.sources.left_out import LeftOutImage, sentences
from integrations.sources.parquet import UNNAMED_SPLIT, PathLookup, count_rows, files_by_split, split_of
from integrations.sources.table import images_folder
from integrations.sources.table_columns import SPLIT_COLUMNS, split_column

Loaded = TypeVar("Loaded")

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

HUB_TIMEOUT = 5.0  # seconds without an answer, after which the hub counts as unreachable
WITHOUT_IMAGE = "rows that hold no image are not audited"
FILL_ROWS = "fill or remove them"
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
        loaded = _loaded(f"hf:{name}", lambda: load_dataset(repository, configuration or None))
    tables = _Tables(repository, f"hf:{name}", splits_of(loaded))
    return _labelled_images(tables, image_column, label_column, keep_labels)


def parquet_files(
    path: str | Path,
    image_column: str | None = None,
    label_column: str | None = None,
    keep_labels: Sequence[str] | None = None,
    images: str | Path | None = None,
) -> LabelledImages:
    """A local parquet file, or the parquet files below a folder, in Hugging Face `datasets` form.

    The names of files or folders give the splits: train-00000-of-00002.parquet, valid.parquet, test/0000.parquet. The
    images are encoded in a column, or files whose paths are; relative ones are looked up beside the parquet file.

    Args:
        path: the file or folder.
        image_column, label_column, keep_labels: as in `hub_dataset`.
        images: the folder that relative paths begin in; by default that of the parquet file.

    Raises:
        InputError: if there is no parquet file, one is damaged, none has rows, or there are no such columns or classes.
    """
    from datasets import load_dataset

    path = Path(path).expanduser().absolute()
    files = files_by_split(path)
    description = f"parquet:{path}"
    rows = _loaded(description, lambda: {split: count_rows(found) for split, found in files.items()})
    if not sum(map(sum, rows.values())):
        raise InputError(f"{description} holds no rows; give parquet files with one row per image")
    names = {split: [str(file) for file in found] for split, found in files.items() if sum(rows[split])}
    splits = splits_of(_loaded(description, lambda: load_dataset("parquet", data_files=names)))
    root = path if path.is_dir() else None
    folder = images_folder(images)
    lookups = {split: PathLookup(files[split], rows[split], root, folder) for split in splits}
    name = path.parent.name if path.is_file() and split_of(path, path.parent) else path.stem
    tables = _Tables(name, description, splits, lookups)
    return _labelled_images(tables, image_column, label_column, keep_labels)


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
    tables = _Tables(folder.name, description, splits_of(_loaded(description, lambda: load_from_disk(str(folder)))))
    return _labelled_images(tables, image_column, label_column, keep_labels)


def is_saved_to_disk(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any((folder / name).is_file() for name in SAVED_TO_DISK)


@contextmanager
def _hub_or_cache(repository: str) -> Iterator[None]:
    """Use the hub, or its copy in the cache if the hub cannot be reached, which is found out within seconds.

    One request comes first, since `load_dataset` itself retries for half a minute.
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
                f"dataset {repository!r} is not available: the Hugging Face hub cannot be reached "
                f"({type(error).__name__}); download its parquet files elsewhere and give their folder"
            ) from None
        was_offline = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = was_offline
    else:
        yield


@dataclass(frozen=True)
class _Tables:
    """A dataset of this library as a source.

    Attributes:
        name, description: of the source.
        splits: its tables.
        lookups: for each split, what finds the files that its rows give paths of.
    """

    name: str
    description: str
    splits: DatasetDict
    lookups: Mapping[str, PathLookup] = field(default_factory=dict)


def _loaded(description: str, load: Callable[[], Loaded]) -> Loaded:
    """What `load` returns, its errors in one line."""
    import datasets

    had_bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return load()
    except Exception as error:  # `datasets` raises what its readers raise, from OSError to pyarrow's errors
        cause = error.__cause__ or error
        raise InputError(
            f"{description} cannot be read as a dataset ({type(cause).__name__}: {_first_line(cause)}); "
            "check the files, or give the configuration as hf:ORGANISATION/NAME:CONFIGURATION"
        ) from None
    finally:
        if had_bars:
            datasets.enable_progress_bars()


def splits_of(loaded: Any) -> DatasetDict:
    """The dataset as a dictionary of splits."""
    import datasets

    return loaded if isinstance(loaded, datasets.DatasetDict) else datasets.DatasetDict({_own_split(loaded): loaded})


def _own_split(table: Dataset) -> str:
    return str(table.split) if table.split is not None else UNNAMED_SPLIT


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]


def _labelled_images(
    tables: _Tables, wanted_images: str | None, wanted_labels: str | None, keep_labels: Sequence[str] | None
) -> LabelledImages:
    description, splits = tables.description, tables.splits
    first = next((table for table in splits.values() if len(table)), None)
    if first is None:
        raise InputError(f"{description} holds no rows; give a dataset with one row per image")
    images = find_image_column(description, first, wanted_images)
    column = find_label_column(description, first.features, wanted_labels, images)
    labels = {split: class_names(table, column) for split, table in splits.items()}
    named = getattr(first.features[column], "names", None)
    classes = named or sorted({label for listed in labels.values() for label in listed if label is not None})
    kept = chosen_classes(keep_labels, classes, description, numbered=named is not None)
    rows = {
        split: [row for row, label in enumerate(listed) if kept is None or label in kept]
        for split, listed in labels.items()
    }
    of_rows = {split: _splits_of_rows(split, table, (images, column)) for split, table in splits.items()}
    left_out = tuple(
        LeftOutImage(f"{split}/{row:06d}", None, labels[split][row], "row", WITHOUT_IMAGE, FILL_ROWS)
        for split, table in splits.items()
        for row in sorted(rows_without_image(table, images).intersection(rows[split]))
    )

    def read() -> Iterator[LabelledImage]:
        for split, table in splits.items():
            lookup = tables.lookups.get(split) or PathLookup([], [])
            for row, value in zip(rows[split], _undecoded(table, images).select(rows[split]), strict=True):
                content = _encoded(value[images], row, lookup)
                yield LabelledImage(f"{split}/{row:06d}", content, labels[split][row], of_rows[split][row])

    return LabelledImages(
        tables.name,
        description,
        sum(map(len, rows.values())),
        read,
        kept,
        tuple(sentences(left_out)),
        left_out,
        f"splits {', '.join(splits)}; images in column {images!r}, labels in column {column!r}",
        tuple(labels[split][row] for split in splits for row in rows[split]),
        column,
        tuple(f"{split}/{row:06d}" for split in splits for row in range(len(labels[split]))),
    )


def _splits_of_rows(name: str, table: Dataset, others: Sequence[str]) -> list[str | None]:
    """The split of each row: that of the whole table, or else what a column says."""
    from datasets import Value

    split = standard_split(name)
    columns = [column for column, feature in table.features.items() if isinstance(feature, Value)]
    named = [column for column in columns if column.lower() in SPLIT_COLUMNS and column not in others]
    if split is None and named:
        _, found = split_column({column: table[column][:] for column in named}, others)
        return found or [None] * len(table)
    return [split] * len(table)


def _undecoded(table: Dataset, column: str) -> Dataset:
    """The images' column with encoded bytes as they are, so that nothing is lost and nothing is done twice."""
    from datasets import Image

    images = table.select_columns([column])
    return images.cast_column(column, Image(decode=False)) if isinstance(table.features[column], Image) else images


def _encoded(value: Any, row: int, lookup: PathLookup) -> bytes | Path | None:
    """A row's image: encoded bytes, or the file whose path the row has."""
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, str):
        return lookup.find(row, value) if value.strip() else None
    return None if value is None else bytes(value)
