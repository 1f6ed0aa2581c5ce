"""Embeddings of images: each image passes through the backbone once, and its embedding is cached on disk."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from audit.data.samples import Samples
from audit.errors import InputError
from audit.files.storage import remove_abandoned, replace_file
from audit.images.backbone import Backbone
from audit.images.decoding import KEY_BYTES, content_key, decode_image, image_bytes
from audit.images.pillow_warnings import heard, listening
from audit.progress import ProgressCallback, Step, silent

if TYPE_CHECKING:
    from PIL import Image

    from audit.config import AuditConfig

SHARD_ROWS = 4096  # embeddings in a file of the cache: 8 MB of 512 features; a killed audit loses no more


@dataclass(frozen=True)
class Embedded:
    """The embeddings of the images that could be read.

    Attributes:
        values: float32 (k, d); if workers embedded the images, rows that the workers hold.
        rows: (k,) positions of those images among the samples.
        keys: uint8 (k, 16), the digest of each image's content (`content_key`).
        skipped: position and reason of every image that could not be read.
        computed: how many went through the backbone now.
        cached: how many came from the cache.
        remarks: position of every damaged image that was read now, with Pillow's warning.
    """

    values: Any
    rows: np.ndarray
    keys: np.ndarray
    skipped: list[tuple[int, str]]
    computed: int
    cached: int
    remarks: list[tuple[int, str]] = field(default_factory=list)


class Workers(Protocol):
    """Other processes that embed images, and hold the embeddings."""

    def embed(self, samples: Samples, backbone: Backbone, config: AuditConfig, progress: ProgressCallback) -> Embedded:
        """As `embed` below, with `values` that the workers hold (`audit.compute.matrix.RemoteRows`)."""


class Notes(Protocol):
    """Takes note of pictures while they are decoded, once for each content (`audit.images.traits.TraitNotes`)."""

    def __contains__(self, key: bytes) -> bool:
        """Whether the content with this key was noted."""

    def note(self, key: bytes, picture: Image.Image) -> None:
        """Take note of a decoded picture."""


class HasFeatures(Protocol):
    """What the cache asks of a backbone."""

    @property
    def features(self) -> int:
        """Numbers in a row."""


def default_cache_dir() -> Path:
    """INFLUENCE_AUDIT_CACHE, or the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("INFLUENCE_AUDIT_CACHE") or user_cache_path("influence-audit"))


def cache_folder(backbone: Backbone, cache_dir: str | Path | None = None) -> Path:
    """Where the embeddings by a backbone are kept, below a cache folder or the user's."""
    return Path(cache_dir or default_cache_dir()) / "embeddings" / backbone.transform_key


def embed(
    samples: Samples,
    backbone: Backbone,
    batch_size: int = 256,
    cache_dir: str | Path | None = None,
    progress: ProgressCallback = silent,
    notes: Notes | None = None,
) -> Embedded:
    """Embed every image that is not in the cache yet.

    Args:
        samples: n labelled images (the labels are not looked at).
        backbone: the frozen network.
        batch_size: images per pass.
        cache_dir: folder of the cache; None for the user's.
        progress: told after every batch, in images.
        notes: takes note of every picture while it is decoded; None if nobody does.

    Raises:
        InputError: if the cache folder cannot be written, or not a single image can be read.
    """
    found = embed_readable(samples, backbone, batch_size, cache_dir, progress, notes)
    if not len(found.rows):
        first = f"; the first one: {found.skipped[0][1]}" if found.skipped else ""
        raise InputError(f"none of the {len(samples)} images can be read{first}; check the paths of the samples")
    return found


def embed_readable(
    samples: Samples,
    backbone: Backbone,
    batch_size: int = 256,
    cache_dir: str | Path | None = None,
    progress: ProgressCallback = silent,
    notes: Notes | None = None,
) -> Embedded:
    """As `embed`, without an error if no image can be read."""
    cache = EmbeddingCache(cache_folder(backbone, cache_dir), backbone)
    values = np.empty((len(samples), backbone.features), dtype=np.float32)
    seen = _Seen(len(samples))
    read = partial(_read_image, samples, backbone, cache, notes)
    with ThreadPoolExecutor(max_workers=max(2, (os.cpu_count() or 2))) as pool, cache, listening():
        for chunk, images in _read_ahead(pool, read, len(samples), batch_size):
            fresh = [(image.row, image.key, pixels) for image in images if (pixels := seen.note(image)) is not None]
            if fresh:
                rows = [row for row, _, _ in fresh]
                values[rows] = backbone.embed(torch.from_numpy(np.stack([p for _, _, p in fresh]))).numpy()
                cache.add([key for _, key, _ in fresh], values[rows])
                seen.computed += len(fresh)
            progress(Step("embedding", chunk.stop, len(samples), "images"))
    cache.read(seen.cached, values)
    values[list(seen.repeated)] = values[list(seen.repeated.values())]
    return seen.embedded(values)


@dataclass(frozen=True)
class _ReadImage:
    """One image: its content key, its pixels unless its embedding is in the cache, or why it cannot be read."""

    row: int
    key: bytes = b""
    pixels: np.ndarray | None = None
    problem: str | None = None
    remarks: list[str] = field(default_factory=list)


def _read_image(
    samples: Samples, backbone: Backbone, cache: EmbeddingCache, notes: Notes | None, row: int
) -> _ReadImage:
    image = samples.images[row]
    remarks: list[str] = []
    try:
        content = image_bytes(image)
        key = content_key(content)
        if key in cache and (notes is None or key in notes):
            return _ReadImage(row, key)
        decoded = decode_image(content if isinstance(image, str | Path) else image)
        remarks = list(heard())
        if notes is not None:
            notes.note(key, decoded)
        if key in cache:
            return _ReadImage(row, key)
        return _ReadImage(row, key, backbone.prepared(decoded), remarks=remarks)
    except Exception as error:  # Pillow's decoders raise many kinds; whatever it is, this image is skipped
        return _ReadImage(row, problem=_reason(error), remarks=remarks)


def _read_ahead(
    pool: ThreadPoolExecutor, read: Callable[[int], _ReadImage], count: int, batch_size: int
) -> Iterator[tuple[range, list[_ReadImage]]]:
    """The images a batch at a time; the next one is decoded while the network works on this one."""
    chunks = [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
    ahead = [pool.submit(read, row) for row in chunks[0]] if chunks else []
    for number, chunk in enumerate(chunks):
        current = ahead
        if number + 1 < len(chunks):
            ahead = [pool.submit(read, row) for row in chunks[number + 1]]
        yield chunk, [future.result() for future in current]


class _Seen:
    """What became of n images so far: which could be read, and where each embedding comes from."""

    def __init__(self, count: int) -> None:
        self._keys = np.zeros((count, KEY_BYTES), dtype=np.uint8)
        self._readable = np.zeros(count, dtype=bool)
        self._first_rows: dict[bytes, int] = {}
        self._skipped: list[tuple[int, str]] = []
        self._remarks: list[tuple[int, str]] = []
        self.cached: dict[int, bytes] = {}
        """The key of each row whose embedding is in the cache."""
        self.repeated: dict[int, int] = {}
        """For each row whose content came before, the row where it did."""
        self.computed = 0
        """How many went through the backbone."""

    def note(self, image: _ReadImage) -> np.ndarray | None:
        """Take note of an image; its pixels, where it has to go through the backbone."""
        self._remarks.extend((image.row, text) for text in image.remarks)
        if image.problem is not None:
            self._skipped.append((image.row, image.problem))
            return None
        self._readable[image.row] = True
        self._keys[image.row] = np.frombuffer(image.key, dtype=np.uint8)
        # An image that repeats is embedded once, however far ahead it was read: so a batch holds the same images
        # whether or not an earlier run was interrupted, and embeddings are the same to the last bit.
        first = self._first_rows.setdefault(image.key, image.row)
        if first != image.row:
            self.repeated[image.row] = first
        elif image.pixels is None:
            self.cached[image.row] = image.key
        else:
            return image.pixels
        return None

    def embedded(self, values: np.ndarray) -> Embedded:
        """The outcome, given the embeddings (n, d) of all images that could be read."""
        kept = np.flatnonzero(self._readable)
        every = len(kept) == len(values)
        return Embedded(
            values if every else values[kept],
            kept,
            self._keys if every else self._keys[kept],
            self._skipped,
            self.computed,
            len(kept) - self.computed,
            sorted(self._remarks),
        )


def remarks_note(remarks: Sequence[tuple[int, str]], samples: Samples) -> str:
    """A sentence about the damaged images that were read, naming the first.

    Args:
        remarks: as in `Embedded`, at least one.
        samples: those that were embedded.
    """
    row, remark = remarks[0]
    image = samples.images[row]
    name = str(image) if isinstance(image, str | Path) else samples.ids[row]
    count = len({row for row, _ in remarks})
    which = "1 image is damaged and was" if count == 1 else f"{count} images are damaged and were"
    return f"{which} read as far as possible{'' if count == 1 else ', the first'}: {name} ({remark})"


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "file does not exist"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not an image that Pillow can read" if "cannot identify image file" in text else text


class EmbeddingCache:
    """Embeddings by image content, in append-only shards that are written whole or not at all.

    A shard is a safetensors file with `keys` uint8 (k, 16), `embeddings` float32 (k, d) and a digest of both. A shard
    that does not fit its digest or this backbone is refused.
    """

    def __init__(self, folder: Path, backbone: HasFeatures) -> None:
        self._folder = folder
        self._features = backbone.features
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._waiting: list[tuple[bytes, np.ndarray]] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
            remove_abandoned(folder)
        except OSError as error:
            raise self._cannot_be_written(error) from None
        for shard in sorted(folder.glob("*.safetensors")):
            for row, key in enumerate(self._load(shard)[0]):
                self._places[key.tobytes()] = (shard, row)

    def _cannot_be_written(self, error: OSError) -> InputError:
        return InputError(
            f"embedding cache {str(self._folder)!r} cannot be written ({error.strerror}); give another (--cache-dir)"
        )

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *error: object) -> None:
        """Write what was computed, even if the audit was interrupted."""
        self.flush()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def add(self, keys: Sequence[bytes], values: np.ndarray) -> None:
        """Keep embeddings (k, d); they reach the disk a shard at a time."""
        self._waiting.extend(zip(keys, values.copy(), strict=True))
        if len(self._waiting) >= SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the embeddings that are not on disk yet."""
        if not self._waiting:
            return
        keys = np.frombuffer(b"".join(key for key, _ in self._waiting), dtype=np.uint8).reshape(-1, KEY_BYTES)
        values = np.stack([value for _, value in self._waiting])
        content = save({"keys": keys, "embeddings": values}, {"digest": _shard_digest(keys, values)})
        shard = self._folder / f"{uuid.uuid4().hex}.safetensors"
        try:
            replace_file(shard, content)
        except OSError as error:
            raise self._cannot_be_written(error) from None
        self._waiting.clear()

    def read(self, found: dict[int, bytes], values: np.ndarray) -> None:
        """Fill rows of `values` with the cached embeddings of their keys, a shard at a time."""
        by_shard: dict[Path, list[tuple[int, int]]] = {}
        for row, key in found.items():
            shard, place = self._places[key]
            by_shard.setdefault(shard, []).append((row, place))
        for shard, pairs in by_shard.items():
            rows, places = np.array(pairs).T
            values[rows] = self._load(shard)[1][places]

    def _load(self, shard: Path) -> tuple[np.ndarray, np.ndarray]:
        try:
            with safe_open(shard, framework="numpy") as tensors:
                keys, values = tensors.get_tensor("keys"), tensors.get_tensor("embeddings")
                digest = (tensors.metadata() or {}).get("digest")
        except (SafetensorError, OSError):
            keys = values = np.empty((0, 0))
            digest = None
        if values.shape != (len(keys), self._features) or digest != _shard_digest(keys, values):
            raise InputError(f"embedding cache file {str(shard)!r} is damaged or was changed; delete it")
        return keys, values


def _shard_digest(keys: np.ndarray, values: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.ascontiguousarray(keys).tobytes())
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
