"""Corrected labels go back in the source's own form: only what was decided changes, and the source never does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from datasets import ClassLabel, Dataset, Features, Image, load_from_disk

from audit.config import AuditConfig
from audit.errors import InputError
from audit.result import AuditResult
from integrations.cli import add_subcommands
from integrations.cli.batch import audit_all
from integrations.cli.job import jobs_of
from integrations.cli.root import cli
from integrations.cli.terminal import Verbosity
from integrations.sources import ImportedSource, resolve_source
from integrations.sources.digits import digits

add_subcommands()
CLASSES = ("0", "1", "6")
PER_CLASS = 25
OPTIONS = dict.fromkeys(
    ("dataset", "view", "label_field", "keep_labels", "image_column", "label_column", "images", "layout")
)


def command(*arguments: object) -> None:
    typer.main.get_command(cli)([str(argument) for argument in arguments], standalone_mode=False)


def audited(source: Path, root: Path, **given: object) -> Path:
    """Audit a source without FiftyOne, and return the result's folder."""
    options = OPTIONS | {"source": str(source), "audit_key": "audit", "no_fiftyone": True} | given
    (job,) = jobs_of(options, {"weights": "bundled", "device": "cpu"}, root)
    assert audit_all([job], Verbosity(quiet=True)) == 0
    (summary,) = root.rglob("summary.json")
    return summary.parent


def some_digits() -> list[tuple[str, bytes, str]]:
    """Name, content and label of digits of three classes; the first of each class has the label of the next one."""
    rows = []
    for place, label in enumerate(CLASSES):
        for number, image in enumerate(list(digits([label]))[:PER_CLASS]):
            assert isinstance(image.image, bytes)
            given = CLASSES[(place + 1) % 3] if number == 0 else label
            rows.append((f"{label}-{number:02d}.png", image.image, given))
    return rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "images"
    folder.mkdir()
    for name, content, _ in some_digits():
        (folder / name).write_bytes(content)
    return folder


def make_csv(root: Path, pictures: Path) -> Path:
    lines = [f'{number},"images/{name}",{label}\r\n' for number, (name, _, label) in enumerate(some_digits())]
    return write(root / "labels.csv", "\ufeffnumber,file,label\r\n" + "".join(lines), pictures)


def make_lines(root: Path, pictures: Path) -> Path:
    lines = [json.dumps({"file": f"images/{name}", "label": int(label)}) + "\n" for name, _, label in some_digits()]
    return write(root / "labels.jsonl", "".join(lines), pictures)


def make_coco(root: Path, pictures: Path) -> Path:
    rows = some_digits()
    content = {
        "images": [{"id": number, "file_name": name} for number, (name, _, _) in enumerate(rows)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": CLASSES.index(label)}
            for number, (_, _, label) in enumerate(rows)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
    }
    return write(root / "labels.json", json.dumps(content, indent=1), pictures)


def write(path: Path, text: str, pictures: Path) -> Path:
    """A table beside the folder of the pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    shutil.copytree(pictures, path.parent / "images")
    return path


def make_parquet(root: Path, pictures: Path) -> Path:
    features = Features({"image": Image(), "label": ClassLabel(names=list(CLASSES)), "note": _text()})
    rows = {
        "image": [{"bytes": content, "path": None} for _, content, _ in some_digits()],
        "label": [CLASSES.index(label) for _, _, label in some_digits()],
        "note": [name for name, _, _ in some_digits()],
    }
    root.mkdir(parents=True)
    Dataset.from_dict(rows, features=features).to_parquet(root / "train.parquet", batch_size=20)
    return root / "train.parquet"


def _text() -> Any:
    from datasets import Value

    return Value("string")


def make_folder(root: Path, pictures: Path) -> Path:
    for name, content, label in some_digits():
        (root / "digits" / label).mkdir(parents=True, exist_ok=True)
        (root / "digits" / label / name).write_bytes(content)
    return root / "digits"


SOURCES = {"csv": make_csv, "jsonl": make_lines, "coco": make_coco, "parquet": make_parquet, "folder": make_folder}
Made = tuple[Path, Path]


@pytest.fixture(scope="module")
def made(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Makes a source of a form and audits it, once; returns source and result."""
    known: dict[str, Made] = {}

    def make(form: str) -> Made:
        if form not in known:
            root = tmp_path_factory.mktemp(form)
            source = SOURCES[form](root / "source", pictures)
            known[form] = source, audited(source, root / "results")
        return known[form]

    return make


def labels_of(source: Path) -> list[str | None]:
    resolved = resolve_source(str(source))
    assert isinstance(resolved, ImportedSource)
    return [image.label for image in resolved.images]


def contents_below(folder: Path) -> dict[str, bytes]:
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder.parent)): path.read_bytes() for path in files}


def filled_in(result: Path, path: Path, labels: dict[str, str]) -> Path:
    """What `export` writes of a result, with new labels by key filled in."""
    command("export", result, "-o", path, "--all")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert (table["new_label"] == "").all()
    table["new_label"] = [labels.get(key, "") for key in table["key"]]
    table.to_csv(path, index=False)
    return path


def right_labels(result: Path) -> dict[str, str]:
    """The right labels of two of the three wrong ones, by key: a file's name, or the row in parquet."""
    rows = {"train/000000": "0-00.png", f"train/{PER_CLASS:06d}": "1-00.png"}
    names = {key: rows.get(key, Path(key).name) for key in AuditResult.load(result).scores["key"]}
    return {key: name[0] for key, name in names.items() if name in ("0-00.png", "1-00.png")}


@pytest.mark.parametrize("form", SOURCES)
def test_a_filled_in_table_corrects_the_source_in_its_own_form(
    made: Callable[[str], Made], form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, result = made(form)
    before, chosen = contents_below(source), right_labels(result)
    table = filled_in(result, tmp_path / "decisions.csv", chosen)
    output = tmp_path / f"corrected{source.suffix}"
    command("apply", result, "-o", output, "--decisions", table)
    assert f"2 of {3 * PER_CLASS} labels changed" in capsys.readouterr().err
    assert contents_below(source) == before
    log = pd.read_csv(tmp_path / "corrected.log.csv", dtype=str)
    assert dict(zip(log["key"], log["new_label"], strict=True)) == chosen
    assert log["applied"].eq("True").all()
    expected = [label for _, _, label in some_digits()]
    expected[0], expected[PER_CLASS] = "0", "1"
    if form == "folder":
        files = {path.name: path.parent.name for path in output.rglob("*") if path.is_file()}
        assert files == {name: label for (name, _, _), label in zip(some_digits(), expected, strict=True)}
        return
    if source.suffix not in (".parquet",):
        shutil.copytree(source.parent / "images", tmp_path / "images")
    assert labels_of(output) == expected
    if form in ("csv", "jsonl"):
        old, new = before[source.name].splitlines(), output.read_bytes().splitlines()
        assert sum(one != other for one, other in zip(old, new, strict=True)) == 2
    if form == "parquet":
        assert pd.read_parquet(output)["note"].tolist() == pd.read_parquet(source)["note"].tolist()


def test_unseen_suggestions_are_accepted_only_where_asked_and_never_against_a_decision(
    made: Callable[[str], Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, result = made("csv")
    scores = AuditResult.load(result).scores
    suspected = scores[scores["suspicion"] >= 0.5]
    assert len(suspected)
    first = suspected.iloc[0]
    with pytest.raises(InputError, match="its decisions are in a table"):
        command("apply", result, "-o", tmp_path / "corrected.csv")
    command("apply", result, "-o", tmp_path / "corrected.csv", "--accept-from", "0.5")
    said = capsys.readouterr().err
    assert f"{len(suspected)} suggestions accepted unseen at suspicion 0.5 or above; the audit expects about" in said
    log = pd.read_csv(tmp_path / "corrected.log.csv", dtype=str)
    assert sorted(log["key"]) == sorted(suspected["key"])
    assert log["why"].str.startswith("suggestion accepted unseen at suspicion").all()

    decided = filled_in(result, tmp_path / "decisions.csv", {})
    table = pd.read_csv(decided, dtype=str, keep_default_na=False)
    table["status"] = ["dismissed" if key == first["key"] else "" for key in table["key"]]
    table.to_csv(decided, index=False)
    command("apply", result, "-o", tmp_path / "corrected.csv", "--accept-from", "0.5", "--decisions", decided)
    assert first["key"] not in set(pd.read_csv(tmp_path / "corrected.log.csv")["key"])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("{source}", "is the source or in it, which is never overwritten"),
        ("{tmp}/corrected.parquet", "has another form than the source; give a name that ends in '.csv'"),
        ("{tmp}/mine.csv", "exists and is no output of this command"),
        ("{tmp}/logged.csv", "where the log would go, holds something else"),
        ("{tmp}", "has another form"),
    ],
)
def test_nothing_is_overwritten_that_this_command_did_not_write(
    made: Callable[[str], Made], tmp_path: Path, output: str, message: str
) -> None:
    source, result = made("csv")
    for name in ("mine.csv", "logged.log.csv"):
        (tmp_path / name).write_text("mine")
    before = contents_below(source)
    with pytest.raises(InputError) as error:
        command("apply", result, "-o", output.format(source=source, tmp=tmp_path), "--accept-from", "0.5")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert contents_below(source) == before
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}


def test_the_folder_of_the_pictures_is_never_written_into(made: Callable[[str], Made], tmp_path: Path) -> None:
    source, result = made("folder")
    for output, message in ((source / "new", "is the source or in it"), (tmp_path / "a.csv", "the source is a folder")):
        with pytest.raises(InputError, match=message):
            command("apply", result, "-o", output, "--accept-from", "0.5")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(InputError, match="holds files"):
        command("apply", result, "-o", tmp_path / "full", "--accept-from", "0.5")
    command("apply", result, "-o", tmp_path / "linked", "--accept-from", "0.5", "--hard-link")
    names = {path.name: path for path in source.rglob("*.png")}
    assert all(path.samefile(names[path.name]) for path in (tmp_path / "linked").rglob("*.png"))


def test_a_label_that_changed_in_the_source_meanwhile_is_left(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_csv(tmp_path / "source", pictures)
    result = audited(source, tmp_path / "results")
    keys = list(AuditResult.load(result).scores["key"])
    source.write_bytes(source.read_bytes().replace(b'images/0-00.png",1', b'images/0-00.png",6'))
    table = filled_in(result, tmp_path / "decisions.csv", {keys[0]: "0", keys[1]: "0", keys[2]: "6"})
    command("apply", result, "-o", tmp_path / "corrected.csv", "--decisions", table)
    assert "1 of 75 labels changed (2 decisions change nothing; the log says why)" in capsys.readouterr().err
    why = pd.read_csv(tmp_path / "corrected.log.csv")["why"].tolist()
    assert why[0].startswith("not applied: the source's label has changed since the audit")
    assert why[1] == "not applied: the source has this label already"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,label\n", "have no column 'new_label'"),
        ("key,new_label\nnowhere.png,1\n", "names 'nowhere.png', which is no sample of the result"),
        ("key,new_label\n{key},1\n{key},6\n", "two labels, '1' and '6'"),
        ("key,new_label\n{key},\n", "nothing to apply"),
    ],
)
def test_decisions_that_cannot_be_read_are_refused_in_one_line(
    made: Callable[[str], Made], tmp_path: Path, content: str, message: str
) -> None:
    _, result = made("csv")
    key = AuditResult.load(result).scores["key"].iloc[0]
    (tmp_path / "decisions.csv").write_text(content.format(key=key) + ("x,\n" if content == "id,label\n" else ""))
    with pytest.raises(InputError) as error:
        command("apply", result, "-o", tmp_path / "corrected.csv", "--decisions", tmp_path / "decisions.csv")
    assert message in str(error.value)


def test_a_number_that_a_spreadsheet_wrote_as_a_fraction_is_its_class(
    made: Callable[[str], Made], tmp_path: Path
) -> None:
    _, result = made("csv")
    chosen = right_labels(result)
    table = filled_in(result, tmp_path / "decisions.csv", {key: f"{label}.0" for key, label in chosen.items()})
    command("apply", result, "-o", tmp_path / "corrected.csv", "--decisions", table)
    log = pd.read_csv(tmp_path / "corrected.log.csv", dtype=str)
    assert dict(zip(log["key"], log["new_label"], strict=True)) == chosen


def test_a_class_that_a_parquet_file_does_not_know_is_refused(made: Callable[[str], Made], tmp_path: Path) -> None:
    _, result = made("parquet")
    key = AuditResult.load(result).scores["key"].iloc[0]
    table = filled_in(result, tmp_path / "decisions.csv", {key: "nine"})
    with pytest.raises(InputError, match="knows the classes 0, 1, 6, and not 'nine'"):
        command("apply", result, "-o", tmp_path / "corrected.parquet", "--decisions", table)
    assert not (tmp_path / "corrected.parquet").exists()


def test_a_source_without_a_form_of_its_own_becomes_a_table_of_keys_and_labels(tmp_path: Path) -> None:
    result = audited(Path("digits"), tmp_path / "results", keep_labels=["3", "8"])
    keys = list(AuditResult.load(result).scores["key"])
    table = filled_in(result, tmp_path / "decisions.csv", {keys[0]: "8"})
    command("apply", result, "-o", tmp_path / "corrected.csv", "--decisions", table)
    corrected = pd.read_csv(tmp_path / "corrected.csv", dtype=str, index_col="key")["label"]
    assert corrected[keys[0]] == "8"
    assert len(corrected) == 1797


def test_a_saved_dataset_gets_the_scores_as_columns(
    made: Callable[[str], Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet, other = made("parquet")
    Dataset.from_parquet(str(parquet)).train_test_split(0.2, seed=0).save_to_disk(tmp_path / "saved")
    result = audited(tmp_path / "saved", tmp_path / "results")
    capsys.readouterr()
    command("export", result, "--push-column", "-o", tmp_path / "scored")
    before, after = load_from_disk(tmp_path / "saved"), load_from_disk(tmp_path / "scored")
    scores = AuditResult.load(result).scores.set_index("key")
    for split, table in after.items():
        assert table.column_names == [
            *before[split].column_names,
            "audit_suspicion",
            "audit_flag",
            "audit_suggested_label",
        ]
        assert table["note"][:] == before[split]["note"][:]
        expected = [scores["suspicion"][f"{split}/{row:06d}"] for row in range(len(table))]
        assert table["audit_suspicion"][:] == pytest.approx(expected)
    decided, new = tmp_path / "decided.csv", CLASSES[(before["test"]["label"][3] + 1) % 3]
    for label in (f"{new}{new}", new):
        pd.DataFrame({"key": ["test/000003"], "new_label": [label]}).to_csv(decided, index=False)
        apply = ("apply", result, "-o", tmp_path / "corrected", "--decisions", decided)
        if label != new:
            with pytest.raises(InputError, match=f"knows the classes 0, 1, 6, and not '{label}'"):
                command(*apply)
            told = f"note: '{label}' is a new class, of 1 label(s); did you mean '{new}'?"
            assert told in capsys.readouterr().err
    command(*apply)
    corrected = load_from_disk(tmp_path / "corrected")
    assert {split: table.features for split, table in corrected.items()} == {
        split: table.features for split, table in before.items()
    }
    assert corrected["test"]["label"][3] != before["test"]["label"][3]
    assert corrected["test"].remove_columns("label")[:5] == before["test"].remove_columns("label")[:5]
    assert corrected["train"]["label"][:] == before["train"]["label"][:]
    for arguments, message in (
        ((result, "--push-column", "-o", tmp_path / "scored"), "exists; give the name of a new folder"),
        ((other, "--push-column", "-o", tmp_path / "x"), "needs a Hugging Face dataset that was saved to disk"),
        ((result, "--push-column"), "stands alone"),
    ):
        with pytest.raises(InputError, match=message):
            command("export", *arguments)


def test_the_result_names_the_column_and_how_to_audit_the_source_again(
    made: Callable[[str], Made], pictures: Path, tmp_path: Path
) -> None:
    from reports.next_steps import run_again

    source, result = made("csv")
    summary = AuditResult.load(result).summary
    assert summary.source is not None
    assert (summary.source.label_column, summary.source.in_fiftyone) == ("label", False)
    assert run_again(summary) == f"influence-audit run table:{source} --no-fiftyone --weights bundled --device cpu"

    lines = source.read_text(encoding="utf-8-sig").splitlines()
    rows = [line + f",{'ab'[number % 2]}" for number, line in enumerate(lines[1:])]
    other = write(tmp_path / "source" / "labels.csv", "\n".join([lines[0] + ",second", *rows]), pictures)
    first = audited(other, tmp_path / "results")
    options = OPTIONS | {"source": str(other), "audit_key": "audit", "no_fiftyone": True, "label_column": "second"}
    (job,) = jobs_of(options, {"weights": "bundled", "device": "cpu"}, tmp_path / "results")
    audit_all([job], Verbosity(quiet=True))
    second = first.with_name("audit_second")
    assert AuditResult.load(first).summary.source.label_column == "label"  # type: ignore[union-attr]
    again = AuditResult.load(second).summary
    assert again.source is not None
    assert again.source.label_column == "second"
    assert "--label-column second" in run_again(again)
    assert AuditConfig(**again.config.to_dict()) == again.config
