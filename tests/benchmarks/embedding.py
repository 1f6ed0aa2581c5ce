"""Embedding beside the network's bare passes: `python -m tests.benchmarks.embedding`.

The bare passes get pixels that are decoded and resized already. Embedding reads encoded files, decodes and resizes
them, passes them through the same network in batches of the same size, and keeps the outcome. Both run in turns in one
process.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import audit  # noqa: F401  # before torch: it tells OpenMP not to spin  # isort: skip
import numpy as np
import torch
from PIL import Image

from audit.config import AuditConfig
from audit.data.samples import Samples
from audit.images.backbone import Backbone
from audit.images.decoding import decode_image
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from audit.images.traits import TraitNotes
from tests.benchmarks.influence import described, machine
from tests.benchmarks.pictures import read

HERE = Path(__file__).parent
STORED, TABLE = HERE / "embedding.json", HERE / "embedding.md"
TURNS = 5
BATCH = AuditConfig().batch_size
LARGE = (500, 375)

INTRODUCTION = """# Embedding beside the network's bare passes

Made by `python -m tests.benchmarks.embedding`: pictures of tiny-imagenet-tables-boats as JPEG files in memory, at their
64 × 64 pixels or enlarged to 500 × 375. *Share* is the time of bare passes on decoded pixels over that of embedding,
medians of turns in one process. *With findings*, every decoded picture is also looked at for what makes it a bad one.
"""


@dataclass(frozen=True)
class Case:
    """What is embedded: so many pictures of a size, by an architecture with weights made here or the bundled one."""

    architecture: str
    count: int
    picture: tuple[int, int]
    input_size: int | None


CASES = (
    Case("resnet18", 1000, (64, 64), 64),
    Case("resnet18", 300, LARGE, 224),
)


def measured(case: Case) -> dict[str, Any]:
    """Seconds and processor seconds of bare passes, of embedding, and of embedding with notes for findings."""
    pictures, _ = read("tiny-imagenet-tables-boats")
    files = [encoded(picture.resize(case.picture)) for picture in pictures[: case.count]]
    samples = Samples([str(row) for row in range(len(files))], files, ["any"] * len(files))
    with tempfile.TemporaryDirectory() as folder:
        backbone = made(case, Path(folder))
        pixels = torch.from_numpy(np.stack([backbone.prepared(decode_image(file)) for file in files]))

        def bare() -> None:
            for part in pixels.split(BATCH):
                backbone.embed(part)

        def embedding(with_notes: bool) -> None:
            with tempfile.TemporaryDirectory(dir=folder) as cache:
                notes = TraitNotes(Path(cache)) if with_notes else None
                embed(samples, backbone, BATCH, cache, notes=notes)

        bare()
        return in_turns({"bare": bare, "embedding": lambda: embedding(False), "with findings": lambda: embedding(True)})


def made(case: Case, folder: Path) -> Backbone:
    """The architecture with weights of chance; they do not change how long it takes."""
    import torchvision

    weights = folder / f"{case.architecture}.pt"
    torch.save(getattr(torchvision.models, case.architecture)().state_dict(), weights)
    return load_backbone(case.architecture, str(weights), case.input_size, "cpu")


def encoded(picture: Image.Image) -> bytes:
    """A picture as a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def in_turns(jobs: dict[str, Callable[[], None]]) -> dict[str, Any]:
    """Medians of each job's seconds and processor seconds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(TURNS):
        for name, job in jobs.items():
            began = time.perf_counter(), time.process_time()
            job()
            found[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return {
        name: {"seconds": statistics.median(s for s, _ in turns), "cpu": statistics.median(cpu for _, cpu in turns)}
        for name, turns in found.items()
    }


def table(rows: dict[str, dict[str, Any]], where: dict[str, Any]) -> str:
    """Markdown of all cases."""
    lines = [
        INTRODUCTION,
        "| pictures, network | images/s bare | embedding | share | by processor time | with findings |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for name, row in rows.items():
        count, bare, ours, noted = row["count"], row["bare"], row["embedding"], row["with findings"]
        rates = " | ".join(f"{count / part['seconds']:.0f}" for part in (bare, ours))
        shares = [bare[unit] / part[unit] for part, unit in ((ours, "seconds"), (ours, "cpu"), (noted, "cpu"))]
        lines.append(f"| {name} | {rates} | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return "\n".join([*lines, "", f"{TURNS} turns; {described(where)}", ""])


def main() -> None:
    """Measure all cases, and write embedding.json and embedding.md."""
    rows = {}
    for case in CASES:
        name = f"{case.count} of {case.picture[0]} × {case.picture[1]}, {case.architecture} at {case.input_size}"
        rows[name] = {"count": case.count, **measured(case)}
        print(name, json.dumps(rows[name]), flush=True)
    where = machine()
    STORED.write_text(json.dumps({"rows": rows, "machine": where}, indent=1) + "\n")
    TABLE.write_text(table(rows, where))


if __name__ == "__main__":
    main()
