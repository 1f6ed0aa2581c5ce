"""Where the audit ran, on what, and what did not work there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from audit.summary.parts import Count, Part

PartOption = Literal["view", "keep_labels"]

PartOptions: TypeAlias = dict[PartOption, str | tuple[str, ...]]
"""The command's options that choose a part of a dataset, by name."""


SourceOption = Literal["image_column", "label_column", "images", "layout", "dataset"]

SourceOptions: TypeAlias = dict[SourceOption, str]
"""The command's options that say how a source is read, by name."""


@dataclass(frozen=True, kw_only=True)
class BackboneSummary(Part):
    """The frozen network."""

    name: str
    """The architecture: torchvision's name, timm:NAME or zoo:NAME."""
    weights: str
    """'imagenet', 'bundled', 'pretrained' (timm's or the zoo's), an entry of torchvision's such as 'IMAGENET1K_V1', or
    the path they were read from."""
    key: str
    """Digest of the weights."""
    image_size: Count
    """Side of the images that the network sees (pixels)."""
    features: Count
    """Length of an embedding."""
    device: str
    """Where it ran."""
    precision: str
    """'float32' or 'bfloat16'."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingSummary(Part):
    """Where the embeddings came from this time."""

    computed: Count
    """Images that went through the network."""
    cached: Count
    """Images whose embedding was in the cache."""


@dataclass(frozen=True, kw_only=True)
class Machine(Part):
    """Where the audit ran."""

    system: str
    """Operating system."""
    cpu_threads: Count
    """Threads that torch used."""
    gpu: str | None
    """Name of the GPU; null where none was used."""


@dataclass(frozen=True, kw_only=True)
class FailedStage(Part):
    """A stage after the flags that failed."""

    stage: str
    """Its name."""
    reason: str
    """What is missing and why, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class AuditedDataset(Part):
    """What was audited: a FiftyOne dataset, or a source without FiftyOne."""

    dataset: str
    """Its name."""
    slug: str
    """What the FiftyOne App calls it in addresses."""
    label_field: str
    """Its field with the labels."""
    audit_key: str
    """Name under which FiftyOne keeps the audit."""
    source: str
    """Where the images came from, as `influence-audit run` takes it."""
    part: PartOptions | None = field(default_factory=dict)
    """The command's options that choose the part of the dataset that was audited, by name: `view` is the name of the
    saved view, `keep_labels` are the classes. Empty for the whole dataset, null for a view without a name."""
    embeddings: tuple[str, ...] = ()
    """The fields, brain runs and files that the embeddings came from; empty where a backbone made them. FILE.npy
    stands for an array that was given from Python."""
    predictions: str | None = None
    """The field or file that predictions came from; null where none were given."""
    label_column: str | None = None
    """The column of the source that the labels are from; null where the source has no columns."""
    options: SourceOptions = field(default_factory=dict)
    """The command's options that read the source in the same way, by name: `label_column`, `images` and others."""
    annotators: tuple[str, ...] = ()
    """The columns or fields with the labels of several annotators, whose consensus was audited; empty where each sample
    has one label."""
    in_fiftyone: bool = True
    """Whether the dataset is in FiftyOne; false for an audit without it, where only the source has the name."""
    without_images: bool = False
    """Whether the source is a table of labels whose rows name no images."""
