"""Many audits in a row in one process: does anything grow?

`python -m tests.benchmarks.soak` audits 10 000 images 20 times, the whole way (embeddings from the cache, head,
detection, influence, result, FiftyOne, report), and writes soak.json and soak.md. Memory is what the operating system
says that the process holds (RSS) after each audit. Everything else that could leak is counted beside it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

HERE = Path(__file__).parent
REFERENCE = 3  # the audit whose memory the last one's is compared with: by then everything is loaded
ALLOWED = 0.05
CLASSES = 4


@dataclass(frozen=True)
class After:
    """What there is after an audit.

    Args:
        seconds: that the audit took.
        memory: resident, in bytes.
        open_files: descriptors.
        threads: of this process.
        processes: children.
        files: below the folders that audits write to.
        datasets: in FiftyOne.
        collections: in FiftyOne's database.
    """

    seconds: float
    memory: int
    open_files: int
    threads: int
    processes: int
    files: int
    datasets: int
    collections: int


def soak(
    samples: int,
    audits: int,
    folder: Path,
    image_size: int = 32,
    each: Callable[[list[After]], None] = lambda results: None,
) -> list[After]:
    """Audit the same images again and again, each time under another seed.

    Args:
        samples: how many images.
        audits: how many times.
        folder: where images, cache and results go.
        image_size: side of the images that the backbone sees.
        each: told after each audit what there was after all so far.
    """
    import fiftyone as fo
    from fiftyone.core.odm import get_db_conn

    from audit.config import AuditConfig
    from integrations.fiftyone import audit_dataset
    from reports.html import write_report

    name = f"soak-{os.getpid()}"
    dataset = fo.Dataset(name, persistent=True)
    try:
        dataset.add_samples(
            [
                fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=label))
                for path, label in _images(samples, folder / "images")
            ],
            progress=False,
        )
        process, results = psutil.Process(), []
        for number in range(audits):
            config = AuditConfig(
                weights="bundled", image_size=image_size, cache_dir=str(folder / "cache"), seed=number, l2=0.01
            )
            began = time.perf_counter()
            result = audit_dataset(dataset, audit_key="soak", config=config, save_to=folder / "result")
            write_report(result, folder / "result" / "report.html")
            seconds = time.perf_counter() - began
            del result
            gc.collect()
            results.append(
                After(
                    round(seconds, 2),
                    process.memory_info().rss,
                    process.num_fds(),
                    process.num_threads(),
                    len(process.children(recursive=True)),
                    sum(path.is_file() for path in folder.rglob("*")),
                    len(fo.list_datasets()),
                    len(get_db_conn().list_collection_names()),
                )
            )
            each(results)
    finally:
        fo.delete_dataset(name)
    return results


def growth(results: list[After]) -> float:
    """How much more memory there is after the last audit than after the third, as a share."""
    return results[-1].memory / results[REFERENCE - 1].memory - 1


def _images(count: int, folder: Path) -> list[tuple[Path, str]]:
    """Noise with a bright quarter that tells the class."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        label = number % CLASSES
        pixels = random.integers(0, 120, (16, 16, 3), dtype=np.uint8)
        row, column = 8 * (label // 2), 8 * (label % 2)
        pixels[row : row + 8, column : column + 8] += 100
        made.append((folder / f"{number}.png", f"quarter {label}"))
        Image.fromarray(pixels).save(made[-1][0])
    return made


def main() -> None:
    """Soak, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--audits", type=int, default=20)
    asked = parser.parse_args()
    os.environ.setdefault("FIFTYONE_DATABASE_NAME", f"influence_audit_soak_{os.getpid()}")
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    with tempfile.TemporaryDirectory() as folder:
        results = soak(asked.samples, asked.audits, Path(folder), each=lambda after: _keep(asked.samples, after))
    print((HERE / "soak.md").read_text(encoding="utf-8"))
    print(f"memory grew by {growth(results):+.1%} (allowed: {ALLOWED:.0%})")


def _keep(samples: int, results: list[After]) -> None:
    """Write what is known so far, so that an interrupted soak leaves its figures."""
    lines = [
        f"# {len(results)} audits of {samples:,} images in one process",
        "",
        f"{platform.machine()}, {os.cpu_count()} CPU threads, with other work on the machine. "
        "`python -m tests.benchmarks.soak` makes this file.",
        "",
    ]
    if len(results) > REFERENCE:
        lines += [
            f"Memory after the last audit against that after audit {REFERENCE}: {growth(results):+.1%} "
            f"(allowed: {ALLOWED:.0%}).",
            "",
        ]
    lines += [
        "| audit | seconds | memory (MiB) | open files | threads | processes | files | datasets | collections |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, after in enumerate(results, 1):
        values = (after.open_files, after.threads, after.processes, after.files, after.datasets, after.collections)
        lines.append(
            f"| {number} | {after.seconds:.1f} | {after.memory / 2**20:.0f} | " + " | ".join(map(str, values)) + " |"
        )
    (HERE / "soak.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (HERE / "soak.json").write_text(json.dumps([asdict(after) for after in results], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
