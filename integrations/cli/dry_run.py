"""`run --dry-run`: what an audit would do, on how many samples, and about how long it would take.

It writes no result and no dataset. Weights and datasets from the network are kept in their own caches, as in an audit.

The estimates are measured on this machine: the backbone's speed on some of the images; head, influence and suspicions
in two small audits of simulated embeddings of different size, since their time grows with the number of samples. The
work for explanations is known in advance, and the same small audits measure how fast it is done. Looking for copies
and bad pictures is measured on the same images as the backbone.
"""

from __future__ import annotations

import dataclasses
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console

from audit.compute.memory import check_fits, free_memory
from audit.compute.scratch import SETTINGS as SCRATCH
from audit.config import NO_BACKBONE, SPLITS, AuditConfig
from audit.data.samples import Samples, content_key, image_bytes
from audit.findings.registry import NONE
from audit.images.backbone import Backbone
from audit.images.embedding import EmbeddingCache, cache_folder, embed
from audit.images.load_backbone import load_backbone
from audit.progress import Step
from integrations.cli.dry_run_embeddings import SETTINGS, audit_seconds, factor_bytes, seconds_alone
from integrations.cli.dry_run_pictures import looks_at_pictures, most_shown, seconds_for_pictures
from integrations.cli.dry_run_samples import AuditedPart, audited_part, read_source
from integrations.cli.exit_codes import print_json
from integrations.cli.job import AuditJob
from integrations.cli.terminal import StageDisplay, Verbosity
from integrations.pipeline import REPORT_FILE


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
    audit_seconds: float
    start_and_write_seconds: float
    memory_bytes: float
    free_memory_bytes: int
    layout: str
    left_out: list[str]
    output: str
    replaces: bool
    fields: list[str]
    notes: list[str]

    @property
    def seconds(self) -> float:
        """Of the whole audit."""
        return self.embedding_seconds + self.audit_seconds + self.start_and_write_seconds


def show_plans(jobs: Sequence[AuditJob], verbosity: Verbosity) -> None:
    """Show what each job would do.

    Raises:
        InputError: where the audit would raise it before it computes anything.
    """
    plans = []
    for job in jobs:
        with StageDisplay(Console(stderr=True), verbosity) as display:
            plans.append(plan_of(job, display))
    if verbosity.json:
        values = [dataclasses.asdict(plan) | {"seconds": plan.seconds} for plan in plans]
        print_json(values[0] if len(values) == 1 else {"plans": values})
        return
    console = Console()
    for plan in plans:
        _show(console, plan)
    if len(plans) > 1:
        console.print(f"{len(plans)} audits, about {_duration(sum(plan.seconds for plan in plans))} in all")


def plan_of(job: AuditJob, display: StageDisplay) -> Plan:
    """The plan of a job: read its labels, measure on some of its images, and estimate the rest."""
    config, notes = job.config, []

    def note(text: str) -> None:
        notes.append(text)
        display(Step("backbone", note=text))

    display(Step("samples"))
    read = read_source(job)
    content = read.content
    audited = audited_part(content, config)
    backbone, images = None, content.images if job.uses_backbone else []
    if job.uses_backbone:
        display(Step("backbone"))
        backbone = load_backbone(
            config.backbone, config.weights, config.image_size, config.device, note=note, precision=config.precision
        )
    display(Step("measuring"))
    alone = not job.uses_backbone and not job.embeddings
    cost = _cost(audited, images, backbone, config, alone)
    folder = job.folder_for(content.dataset)
    return Plan(
        source=read.source,
        dataset=content.dataset,
        label_field=read.label_field,
        audit_key=job.audit_key,
        samples=len(audited.labels),
        without_label=audited.without_label,
        in_small_classes=audited.in_small_classes,
        classes={str(name): count for name, count in sorted(Counter(audited.labels).items())},
        splits={name: audited.splits.count(name) for name in SPLITS},
        backbone=NO_BACKBONE if backbone is None else backbone.name,
        weights=NO_BACKBONE if backbone is None else backbone.weights,
        image_size=0 if backbone is None else backbone.image_size,
        device="cpu" if backbone is None else str(backbone.device),
        cached_share=cost.cached_share,
        images_measured=len(images),
        images_per_second=cost.images_per_second,
        embedding_seconds=cost.embedding_seconds,
        audit_seconds=cost.audit_seconds,
        start_and_write_seconds=cost.start_and_write_seconds,
        memory_bytes=cost.memory_bytes,
        free_memory_bytes=free_memory(torch.device("cpu")),
        layout=content.layout,
        left_out=[*content.notes],
        output=str(folder),
        replaces=(folder / REPORT_FILE).exists(),
        fields=_fields(job) if read.in_fiftyone else [],
        notes=notes,
    )


def _fields(job: AuditJob) -> list[str]:
    """The fields of the dataset that the audit would write."""
    from integrations.fiftyone.fields import ALL_FIELDS, HEAT_MAP, INJECTION_FIELDS

    without = (HEAT_MAP,) if job.config.inject else (HEAT_MAP, *INJECTION_FIELDS)
    return [field.name(job.audit_key) for field in ALL_FIELDS if field not in without]


@dataclass(frozen=True)
class _Cost:
    """What an audit would take; the attributes are those of its plan."""

    cached_share: float
    images_per_second: float
    embedding_seconds: float
    audit_seconds: float
    start_and_write_seconds: float
    memory_bytes: float


def _cost(
    audited: AuditedPart, images: Sequence[Any], backbone: Backbone | None, config: AuditConfig, alone: bool
) -> _Cost:
    """The cost with a backbone; without one, of given embeddings of a usual length, or of predictions `alone`."""
    started = time.time() - _process_began()
    cached, pace, side = 1.0, 1.0, 0
    n, d, c = len(audited.labels), 0 if alone else SETTINGS.features, len(set(audited.labels))
    if backbone is not None:
        cached = _cached_share(images, backbone, config)
        pace = _images_per_second(images, backbone, config.batch_size)
        side, d = backbone.image_size, backbone.features
    check_fits(n, c, torch.device("cpu") if backbone is None else backbone.device)
    if alone:
        seconds = seconds_alone(n, c, config)
    else:  # findings are measured on pictures where there are any, after all that these need is imported
        looks = looks_at_pictures(images, config)
        seconds = audit_seconds(n, d, c, config.replace(findings=NONE) if looks else config)
        seconds += seconds_for_pictures(images, config, n, most_shown(n, c)) if backbone is not None else 0.0
    resident = 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _Cost(
        cached_share=cached,
        images_per_second=pace,
        embedding_seconds=n * (1 - cached) / pace,
        audit_seconds=seconds,
        start_and_write_seconds=started + n * SETTINGS.writing_seconds,
        memory_bytes=resident
        + 8 * SETTINGS.copies * n * d
        + 2 * SETTINGS.copies * min(4 * n * c, SCRATCH.memory_bytes)
        + (0.0 if alone else factor_bytes(d, c, config))
        + SETTINGS.pixel_bytes * min(n, config.batch_size) * side**2,
    )


def _cached_share(images: Sequence[Any], backbone: Backbone, config: AuditConfig) -> float:
    """The share of these images whose embedding is in the cache."""
    folder = cache_folder(backbone, config.cache_dir)
    if not folder.is_dir() or not images:
        return 0.0
    cache = EmbeddingCache(folder, backbone)
    return sum(_is_cached(image, cache) for image in images) / len(images)


def _is_cached(image: Any, cache: EmbeddingCache) -> bool:
    try:
        return content_key(image_bytes(image)) in cache
    except OSError:  # the file is missing; the audit will report it
        return False


def _images_per_second(images: Sequence[Any], backbone: Backbone, batch_size: int) -> float:
    """The speed at which these images are embedded, after the first few."""
    first, rest = (images[:8], images[8:]) if len(images) >= 16 else (images, images)
    with tempfile.TemporaryDirectory() as folder:
        for number, part in enumerate((first, rest)):
            samples = Samples([str(row) for row in range(len(part))], part, [None] * len(part))
            began = time.perf_counter()
            embed(samples, backbone, batch_size, Path(folder, str(number)))
    return len(rest) / (time.perf_counter() - began)


def _process_began() -> float:
    """When this process was started (seconds since 1970)."""
    return psutil.Process().create_time()


def _show(console: Console, plan: Plan) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        box=box.SIMPLE, show_header=False, padding=(0, 1), title="What the audit would do", title_justify="left"
    )
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    named = [f"{name} ({count})" for name, count in list(plan.classes.items())[:6]]
    more = f", and {len(plan.classes) - 6} more" if len(plan.classes) > 6 else ""
    left_out = f"; left out: {plan.without_label} without a label" if plan.without_label else ""
    left_out += f"; left out: {plan.in_small_classes} in classes that are too small" if plan.in_small_classes else ""
    rows = {
        "source": plan.source,
        **({"read as": plan.layout} if plan.layout else {}),
        **({"left out": "\n".join(plan.left_out)} if plan.left_out else {}),
        **({"FiftyOne dataset": f"{plan.dataset}, labels in {plan.label_field}"} if plan.fields else {}),
        "samples": f"{plan.samples:,} in {len(plan.classes)} classes{left_out}",
        "classes": ", ".join(named) + more,
        "splits": ", ".join(f"{name} {count:,}" for name, count in plan.splits.items()),
        **_embedding_rows(plan),
        "time": f"about {_duration(plan.seconds)}: images {_duration(plan.embedding_seconds)}, "
        f"all that follows {_duration(plan.audit_seconds)} (from audits of {SETTINGS.audited[0]} and "
        f"{SETTINGS.audited[1]:,} simulated samples on this machine), start and writing "
        f"{_duration(plan.start_and_write_seconds)}; may be off by half",
        "memory": f"about {plan.memory_bytes / 2**30:.1f} GiB of {plan.free_memory_bytes / 2**30:.1f} free: "
        f"this process now, {SETTINGS.copies} copies of samples x (features + classes), large ones of "
        "classes in files, a factor of the head's "
        "Hessian, and a batch of images",
        "result": plan.output + (" (replaces the earlier result)" if plan.replaces else ""),
        **({"fields": ", ".join(plan.fields)} if plan.fields else {}),
    }
    for name, text in rows.items():
        table.add_row(name, escape(text))
    console.print(table)


def _embedding_rows(plan: Plan) -> dict[str, str]:
    if plan.backbone == NO_BACKBONE:
        return {"backbone": "none: embeddings or predictions are given, and no image passes through a network"}
    return {
        "backbone": f"{plan.backbone}, {plan.weights} weights, {plan.image_size} px, on {plan.device}",
        "embeddings": f"about {plan.cached_share:.0%} are in the cache; the others at {plan.images_per_second:,.0f} "
        f"images/s (measured on {plan.images_measured} images)",
    }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
