"""`run --dry-run`: what would be done, on how much, and about how long it would take.

No result and no dataset is written; weights and datasets from the network reach their own caches, as in the audit.

The estimates are rough on purpose and say what they rest on: the images' pace is measured on some of them, the rest is
in proportion to n · d · C (samples, features, classes), scaled by how fast this machine multiplies matrices.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from audit.backbone import Backbone, load_backbone
from audit.config import SPLITS, AuditConfig
from audit.embedding import EmbeddingCache, cache_folder, embed
from audit.errors import InputError
from audit.memory import check_fits, free_memory
from audit.progress import Step
from audit.run import split_samples
from audit.samples import Samples, auditable_classes, content_key, image_bytes
from integrations.command.ending import print_json
from integrations.command.orders import REPORT_FILE, Order
from integrations.sources import FiftyOneSource, Source
from integrations.terminal import Manner, StageDisplay

MEASURED_IMAGES = 64
PRODUCT = 1024
"""Side of the matrices whose product measures the machine."""

OPERATIONS_A_CELL = 2.5e4
"""Arithmetic operations of head, influence and suspicions together for each of n · d · C: fitted to audits of 357 to
11,000 samples with 2 to 20 classes; larger heads take up to three times as many."""

SECONDS_A_SAMPLE = 1.5e-3
"""Writing fields, thumbnails and report, for each sample."""

SECONDS_TO_START = 6.0
BYTES_TO_START = 1.2e9
"""What torch and FiftyOne take."""

COPIES = 8
"""How many float64 values an audit holds at its peak for each feature and each class of a sample."""

BYTES_A_PIXEL = 4 * 3 * 40
"""What the network holds at its peak for each pixel of a batch."""


@dataclass(frozen=True)
class Plan:
    """What one audit would do."""

    source: str
    dataset: str
    label_field: str
    audit_key: str
    samples: int
    without_label: int
    in_small_classes: int
    classes: dict[str, int]
    splits: dict[str, int]
    backbone: str
    weights: str
    image_size: int
    device: str
    cached_share: float
    images_measured: int
    images_per_second: float
    embedding_seconds: float
    other_seconds: float
    memory_bytes: float
    free_memory_bytes: int
    output: str
    replaces: bool
    fields: list[str]
    notes: list[str]

    @property
    def seconds(self) -> float:
        """All in all."""
        return self.embedding_seconds + self.other_seconds


@dataclass(frozen=True)
class _Content:
    """What is known of a source's samples before an audit: labels, splits, and some of the images."""

    dataset: str
    labels: list[str | None]
    splits: list[str | None] | None
    images: list[Any]


def show_plans(orders: Sequence[Order], manner: Manner) -> None:
    """Say what each order would do.

    Raises:
        InputError: where the audit itself would raise it before it computes anything.
    """
    plans = []
    for order in orders:
        with StageDisplay(Console(stderr=True), manner) as display:
            plans.append(plan_of(order, display))
    if manner.json:
        values = [dataclasses.asdict(plan) | {"seconds": plan.seconds} for plan in plans]
        print_json(values[0] if len(values) == 1 else {"plans": values})
        return
    console = Console()
    for plan in plans:
        _show(console, plan)
    if len(plans) > 1:
        console.print(f"{len(plans)} audits, about {_duration(sum(plan.seconds for plan in plans))} in all")


def plan_of(order: Order, display: StageDisplay) -> Plan:
    """Look at the source, measure on some of its images, and estimate the rest."""
    from integrations.fiftyone.fields import ALL_FIELDS, HEAT_MAP, INJECTION_FIELDS

    config, notes = order.config, []

    def note(text: str) -> None:
        notes.append(text)
        display(Step("backbone", note=text))

    source = order.resolve()
    display(Step("samples"))
    content = _look_at(source)
    labelled = [row for row, label in enumerate(content.labels) if label is not None]
    if not labelled:
        raise InputError(f"none of the {len(content.labels)} samples has a label; an audit needs labels")
    labels = np.array([content.labels[row] for row in labelled])
    classes = auditable_classes(labels)
    kept = np.isin(labels, classes)
    labels = labels[kept]
    splits = None if content.splits is None else [content.splits[row] for row in np.array(labelled)[kept]]
    split = Counter(split_samples(labels, splits if config.use_splits else None, config))
    display(Step("backbone"))
    backbone = load_backbone(
        config.backbone, config.weights, config.image_size, config.device, note=note, precision=config.precision
    )
    display(Step("measuring"))
    cached = _cached_share(content.images, backbone, config)
    pace = _images_per_second(content.images, backbone, config.batch_size)
    n, d, c = len(labels), backbone.features, len(classes)
    check_fits(n, c, backbone.device)
    folder = order.folder_for(content.dataset)
    without = (HEAT_MAP,) if config.inject else (HEAT_MAP, *INJECTION_FIELDS)
    return Plan(
        source=source.description,
        dataset=content.dataset,
        label_field=source.label_field,
        audit_key=order.audit_key,
        samples=n,
        without_label=len(content.labels) - len(labelled),
        in_small_classes=int((~kept).sum()),
        classes={str(name): int(count) for name, count in sorted(Counter(labels.tolist()).items())},
        splits={name: split[name] for name in SPLITS},
        backbone=backbone.name,
        weights=backbone.weights,
        image_size=backbone.image_size,
        device=str(backbone.device),
        cached_share=cached,
        images_measured=len(content.images),
        images_per_second=pace,
        embedding_seconds=n * (1 - cached) / pace,
        other_seconds=SECONDS_TO_START
        + n * SECONDS_A_SAMPLE
        + n * d * c * OPERATIONS_A_CELL * (2 if config.inject else 1) / _operations_per_second(backbone.device),
        memory_bytes=BYTES_TO_START
        + 8 * COPIES * n * (d + c)
        + BYTES_A_PIXEL * min(n, config.batch_size) * backbone.image_size**2,
        free_memory_bytes=free_memory(torch.device("cpu")),
        output=str(folder),
        replaces=(folder / REPORT_FILE).exists(),
        fields=[field.name(order.audit_key) for field in ALL_FIELDS if field not in without],
        notes=notes,
    )


def _look_at(source: Source) -> _Content:
    from integrations.fiftyone.dataset import dataset_names, read_samples
    from integrations.fiftyone.importing import dataset_name
    from integrations.sources import DEFAULT_LABEL_FIELD, ImportedSource

    if isinstance(source, ImportedSource):
        name = dataset_name(source.images, source.dataset)
        if source.label_field == DEFAULT_LABEL_FIELD or name not in dataset_names():
            labels, splits, images = [], [], []
            chosen = set(_evenly(len(source.images)))
            for row, image in enumerate(source.images):
                labels.append(image.label)
                splits.append(image.split)
                if row in chosen and image.image is not None:
                    images.append(image.image)
            return _Content(name, labels, splits if any(splits) else None, images)
        source = FiftyOneSource(name, label_field=source.label_field)
    collection = source.open()
    samples = read_samples(collection, source.label_field)
    return _Content(
        collection._root_dataset.name,
        list(samples.labels),
        None if samples.splits is None else list(samples.splits),
        [samples.images[row] for row in _evenly(len(samples))],
    )


def _evenly(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, MEASURED_IMAGES)).round().astype(int).tolist()))


def _cached_share(images: Sequence[Any], backbone: Backbone, config: AuditConfig) -> float:
    """Of those images, the share whose embedding is in the cache."""
    folder = cache_folder(backbone, config.cache_dir)
    if not folder.is_dir() or not images:
        return 0.0
    cache = EmbeddingCache(folder, backbone)
    return sum(_is_cached(image, cache) for image in images) / len(images)


def _is_cached(image: Any, cache: EmbeddingCache) -> bool:
    try:
        return content_key(image_bytes(image)) in cache
    except OSError:  # a file that is not there; the audit will say so
        return False


def _images_per_second(images: Sequence[Any], backbone: Backbone, batch_size: int) -> float:
    """How fast these images go through the network, after the first few."""
    first, rest = (images[:8], images[8:]) if len(images) >= 16 else (images, images)
    with tempfile.TemporaryDirectory() as folder:
        for number, part in enumerate((first, rest)):
            samples = Samples([str(row) for row in range(len(part))], part, [None] * len(part))
            began = time.perf_counter()
            embed(samples, backbone, batch_size, Path(folder, str(number)))
    return len(rest) / (time.perf_counter() - began)


def _operations_per_second(device: torch.device) -> float:
    matrix = torch.rand(PRODUCT, PRODUCT, dtype=torch.float64, device=device)
    float((matrix @ matrix)[0, 0])
    began = time.perf_counter()
    float((matrix @ matrix)[0, 0])
    return 2 * PRODUCT**3 / (time.perf_counter() - began)


def _show(console: Console, plan: Plan) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1), title="Would be done", title_justify="left")
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    named = [f"{name} ({count})" for name, count in list(plan.classes.items())[:6]]
    more = f", and {len(plan.classes) - 6} more" if len(plan.classes) > 6 else ""
    left_out = f"; left out: {plan.without_label} without a label" if plan.without_label else ""
    left_out += f"; left out: {plan.in_small_classes} in too small a class" if plan.in_small_classes else ""
    rows = {
        "source": plan.source,
        "FiftyOne dataset": f"{plan.dataset}, labels in {plan.label_field}",
        "samples": f"{plan.samples:,} in {len(plan.classes)} classes{left_out}",
        "classes": ", ".join(named) + more,
        "splits": ", ".join(f"{name} {count:,}" for name, count in plan.splits.items()),
        "backbone": f"{plan.backbone}, {plan.weights} weights, {plan.image_size} px, on {plan.device}",
        "embeddings": f"about {plan.cached_share:.0%} are in the cache; the others at {plan.images_per_second:,.0f} "
        f"images/s (measured on {plan.images_measured} images)",
        "time": f"about {_duration(plan.seconds)}: images {_duration(plan.embedding_seconds)}, "
        f"all else {_duration(plan.other_seconds)} (by samples x features x classes; may be twice or half)",
        "memory": f"about {plan.memory_bytes / 2**30:.1f} GiB of {plan.free_memory_bytes / 2**30:.1f} free (start, "
        f"{COPIES} copies of samples x (features + classes), and a batch of images)",
        "result": plan.output + (" (the result there is replaced)" if plan.replaces else ""),
        "fields": ", ".join(plan.fields),
    }
    for name, text in rows.items():
        table.add_row(name, escape(text))
    console.print(table)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
