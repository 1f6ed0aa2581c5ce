"""Findings beside single labels, against cleanlab's Datalab and cleanvision on the same pictures and embeddings.

    INFLUENCE_AUDIT_DATA=FOLDER python -m tests.benchmarks.findings [--part NAME]

Copies: 500 pictures of tiny-imagenet-20, each cropped, resized, recompressed (JPEG 30), mirrored, and made 20 %
brighter and darker. A pair counts if it holds a planted copy; it is right if both are of one picture. Off-topic: 300
pictures of tiny-imagenet-20 planted in tables-boats with a random label, and the scrawls of roman-numeral. Stated
probabilities of off-topic pictures: eleven sets (`tests.benchmarks.off_topic`). Backgrounds that give a class away:
five sets (`tests.benchmarks.backgrounds`). Cost: five datasets (`tests.benchmarks.findings_cost`). Bad pictures: ten
each, made from pictures of tables-boats. --part measures one of these and keeps what is known of the others. Needs the
extras `benchmark` and `dev`, which has cleanvision.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.metrics import average_precision_score

import audit
from audit.findings import Audited, neighbours
from audit.findings.near_duplicates import groups_of
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from audit.images.traits import TraitNotes
from tests.benchmarks.backgrounds import measure_backgrounds
from tests.benchmarks.findings_cost import measure_cost
from tests.benchmarks.off_topic import as_table, measure_probabilities
from tests.benchmarks.pictures import files_of, read

SEED, COPIED, OFF_TOPIC, OF_EACH = 0, 500, 300, 10
HERE = Path(__file__).parent
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def recompressed(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def cropped(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    wide, high = picture.size
    scale = random.uniform(0.75, 0.95)
    width, height = round(wide * scale), round(high * scale)
    left, top = random.integers(0, wide - width + 1), random.integers(0, high - height + 1)
    return picture.crop((left, top, left + width, top + height))


def resized(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    scale = random.choice([0.5, 0.7, 1.5])
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)


CHANGES: dict[str, Change] = {
    "crop": cropped,
    "resize": resized,
    "JPEG 30": lambda picture, _: recompressed(picture, 30),
    "mirror": lambda picture, _: ImageOps.mirror(picture),
    "brighter": lambda picture, _: ImageEnhance.Brightness(picture).enhance(1.2),
    "darker": lambda picture, _: ImageEnhance.Brightness(picture).enhance(0.8),
}
BAD: dict[str, Callable[[Image.Image], Image.Image]] = {
    "dark": lambda picture: Image.eval(picture, lambda shade: shade // 5),
    "bright": lambda picture: Image.eval(picture, lambda shade: 246 + shade // 40),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(5)),
    "low-information": lambda picture: Image.new("RGB", picture.size, (90, 140, 60)),
    "odd-aspect": lambda picture: picture.resize((96, 24)),
    "odd-size": lambda picture: picture.resize((256, 256)),
    "grey": lambda picture: picture.convert("L"),
}
PEER_NAMES = {
    "dark": "dark",
    "bright": "light",
    "blurred": "blurry",
    "low-information": "low_information",
    "odd-aspect": "odd_aspect_ratio",
    "odd-size": "odd_size",
    "grey": "grayscale",
}


def described(paths: list[str], labels: np.ndarray) -> Audited:
    """Embeddings and traits of files, without an audit."""
    samples, notes = audit.Samples(paths, paths, [str(label) for label in labels]), TraitNotes(None)
    found = embed(samples, load_backbone("resnet18", "bundled", None, "cpu"), notes=notes)
    split = np.full(len(paths), "train", dtype=object)
    return Audited(
        ids=paths,
        labels=labels,
        classes=np.unique(labels),
        split=split,
        keys=found.keys,
        every_label=np.unique(labels),
        x=torch.from_numpy(found.values).double(),
        traits=notes.of(samples, found.keys),
    )


def pairs_in(groups: Iterable[Iterable[int]]) -> set[tuple[int, int]]:
    return {pair for group in groups for pair in itertools.combinations(sorted(map(int, group)), 2)}


def datalab(x: np.ndarray, labels: np.ndarray, kind: str) -> tuple[pd.DataFrame, dict[str, object]]:
    """The issues of a kind that cleanlab's Datalab finds, and what else it says of them."""
    from cleanlab import Datalab

    lab = Datalab({"label": labels}, label_name="label", verbosity=0)
    lab.find_issues(features=x, issue_types={kind: {}})
    return lab.get_issues(kind), lab.get_info(kind)


def cleanvision(paths: list[str], kinds: Iterable[str]) -> tuple[pd.DataFrame, dict[str, dict[str, object]]]:
    """The issues that cleanvision finds in files, in their order."""
    from cleanvision import Imagelab

    lab = Imagelab(filepaths=paths, verbose=False)
    lab.find_issues({kind: {} for kind in kinds}, n_jobs=1, verbose=False)
    return lab.issues.loc[paths], lab.info


def measure_copies(folder: Path) -> dict[str, dict[str, float]]:
    random = np.random.default_rng(SEED)
    pictures, table = read("tiny-imagenet-20")
    originals = len(pictures)
    chosen = random.choice(originals, COPIED, replace=False)
    source = np.concatenate([np.arange(originals), np.repeat(chosen, len(CHANGES))])
    copies = [change(pictures[row], random) for row in chosen for change in CHANGES.values()]
    paths = files_of([*pictures, *(recompressed(picture, 90) for picture in copies)], folder)
    audited = described(paths, table["label"].to_numpy()[source])
    true = pairs_in(group for group in pd.Series(range(len(source))).groupby(source).groups.values())

    def quality(found: set[tuple[int, int]]) -> dict[str, float]:
        with_copy = {pair for pair in found if pair[1] >= originals}
        right = len(with_copy & true)
        return {"recall": right / len(true), "precision": right / max(1, len(with_copy))}

    x = audited.x.numpy()
    _, info = datalab(x, audited.labels, "near_duplicate")
    sets = info["near_duplicate_sets"]
    theirs = {tuple(sorted((row, int(other)))) for row, near in enumerate(sets) for other in near}  # type: ignore[arg-type]
    place = {path: row for row, path in enumerate(paths)}
    _, said = cleanvision(paths, ["near_duplicates", "exact_duplicates"])
    hashed = [[place[path] for path in group] for name in said if "sets" in said[name] for group in said[name]["sets"]]  # type: ignore[attr-defined]
    ours = quality(pairs_in(groups_of(audited).members))
    exact = neighbours.SETTINGS
    neighbours.SETTINGS = replace(exact, exact_is_faster=1)
    approximate = quality(pairs_in(groups_of(replace(audited, made={})).members))
    neighbours.SETTINGS = exact
    return {
        "influence-audit": ours,
        "influence-audit, approximate search": approximate,
        "Datalab near_duplicate": quality(theirs),  # type: ignore[arg-type]
        "cleanvision near_duplicates": quality(pairs_in(hashed)),
    }


def measure_off_topic(folder: Path) -> dict[str, dict[str, float]]:
    random = np.random.default_rng(SEED)
    pictures, table = read("tiny-imagenet-tables-boats")
    others, _ = read("tiny-imagenet-20")
    strange = [others[row] for row in random.choice(len(others), OFF_TOPIC, replace=False)]
    labels = np.concatenate([table["label"].to_numpy(), random.integers(0, 2, OFF_TOPIC)])
    off = np.arange(len(labels)) >= len(pictures)
    numerals, reviewed = read("roman-numeral")
    scrawls, wrong = (reviewed["true_label"] == "none of them").to_numpy(), reviewed["wrong"].to_numpy()
    found: dict[str, dict[str, float]] = {"influence-audit": {}, "Datalab outlier": {}}
    for name, images, given, truths in (
        ("planted", [*pictures, *strange], labels, {"": off}),
        ("numerals", numerals, reviewed["label"].to_numpy(), {" fits no class": scrawls, " wrong": wrong}),
    ):
        (folder / name).mkdir()
        paths = files_of(images, folder / name)
        samples = audit.Samples(paths, paths, [str(label) for label in given])
        scores = audit.audit_images(samples, audit.AuditConfig(weights="bundled", device="cpu")).scores
        outlying = 1 - datalab(described(paths, given).x.numpy(), given, "outlier")[0]["outlier_score"]
        for suffix, truth in truths.items():
            column = "wrong_for_any_reason" if suffix == " wrong" else "fits_no_class"
            found["influence-audit"][name + suffix] = average_precision_score(truth, scores[column])
            found["Datalab outlier"][name + suffix] = average_precision_score(truth, outlying)
    return found


def measure_bad(folder: Path) -> dict[str, dict[str, float]]:
    """For each fault: how many of the made ones are found, and how many of the other pictures are reported."""
    pictures, table = read("tiny-imagenet-tables-boats")
    made = [make(pictures[10 * number + row]) for number, make in enumerate(BAD.values()) for row in range(OF_EACH)]
    paths = files_of([*pictures, *made], folder)
    labels = np.concatenate([table["label"], table["label"][: len(made)]])
    samples = audit.Samples(paths, paths, [str(label) for label in labels])
    config = audit.AuditConfig(weights="bundled", device="cpu", findings="bad-pictures")
    findings = audit.audit_images(samples, config).findings
    issues, _ = cleanvision(paths, PEER_NAMES.values())
    result: dict[str, dict[str, float]] = {}
    for number, kind in enumerate(BAD):
        ours = set(findings.loc[findings["kind"] == kind, "id"])
        theirs = set(issues.index[issues[f"is_{PEER_NAMES[kind]}_issue"]])
        planted = set(paths[len(pictures) + number * OF_EACH : len(pictures) + (number + 1) * OF_EACH])
        natural = set(paths[: len(pictures)])
        result[kind] = {
            "ours": len(ours & planted),
            "cleanvision": len(theirs & planted),
            "ours among others": len(ours & natural),
            "cleanvision among others": len(theirs & natural),
        }
    return result


PARTS: dict[str, Callable[[Path], dict[str, dict[str, float]]]] = {
    "copies": measure_copies,
    "off-topic": measure_off_topic,
    "off-topic-probabilities": measure_probabilities,
    "bad-pictures": measure_bad,
    "backgrounds": measure_backgrounds,
    "cost": measure_cost,
}


def main() -> None:
    """Measure, and write findings.json; print the table of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; can be given several times")
    file = HERE / "findings.json"
    known = json.loads(file.read_text(encoding="utf-8"))
    for name in parser.parse_args().part or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            results = PARTS[name](Path(folder))
        known[name] = {
            "date": date.today().isoformat(),
            "seed": SEED,
            "threads": torch.get_num_threads(),
            "results": results,
        }
        print(name, json.dumps(known[name], indent=1), flush=True)
        file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    if "off-topic-probabilities" in known:
        print(as_table(known["off-topic-probabilities"]["results"]))


if __name__ == "__main__":
    main()
