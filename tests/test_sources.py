"""Any source that a text names opens as a FiftyOne dataset, the same one each time."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import datasets
import fiftyone as fo
import pytest
from PIL import Image

from audit.errors import InputError
from audit.progress import Step
from integrations.digits import digits
from integrations.fiftyone.importing import LEFT_SOURCE, image_home, import_images
from integrations.folder import image_folder
from integrations.huggingface import hub_dataset, parquet_files
from integrations.labelled_images import LabelledImage, LabelledImages
from integrations.sources import FiftyOneSource, ImportedSource, resolve_source

Names = Callable[[str], str]


def jpeg(shade: int = 100) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(encoded, "JPEG")
    return encoded.getvalue()


def write(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg() if content is None else content)
    return path


def images(*rows: tuple[str, bytes | None, str | None], name: str = "rows") -> LabelledImages:
    listed = [LabelledImage(source_id, image, label, None) for source_id, image, label in rows]
    return LabelledImages(name, f"test:{name}", len(listed), lambda: iter(listed))


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# --- digits ---------------------------------------------------------------------------------------------------------


def test_digits_need_no_network_and_are_large_enough_to_see() -> None:
    source = digits()
    first = next(iter(source))
    assert len(source) == len(list(source)) == 1797
    assert first.label == "0"
    assert isinstance(first.image, bytes)
    assert Image.open(io.BytesIO(first.image)).size == (64, 64)
    assert {image.label for image in digits(["3", "8"])} == {"3", "8"}


def test_importing_the_module_of_sources_imports_neither_fiftyone_nor_datasets() -> None:
    check = (
        "import sys, integrations.sources, integrations.fiftyone; "
        "print([m for m in ('fiftyone', 'datasets', 'torch', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_classes_and_refers_to_images_where_they_are(tmp_path: Path) -> None:
    cat = write(tmp_path / "pets" / "cat" / "a.jpg")
    write(tmp_path / "pets" / "dog" / "deep" / "b.PNG")
    found = list(image_folder(tmp_path / "pets"))
    assert found[0] == LabelledImage("cat/a.jpg", cat, "cat", None)
    assert [(image.source_id, image.label) for image in found] == [("cat/a.jpg", "cat"), ("dog/deep/b.PNG", "dog")]


def test_split_folders_give_splits_only_where_all_folders_are_named_like_splits(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path / "a" / split / "cat" / "1.jpg")
    assert [image.split for image in image_folder(tmp_path / "a")] == ["test", "train", "validation"]
    write(tmp_path / "b" / "train" / "1.jpg")
    write(tmp_path / "b" / "boat" / "1.jpg")
    assert {(image.label, image.split) for image in image_folder(tmp_path / "b")} == {("train", None), ("boat", None)}


def test_a_folder_keeps_damaged_images_for_the_audit_to_report_and_leaves_out_what_is_none(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "zero.jpg", b"")
    write(tmp_path / "cat" / "text.png", b"not an image")
    write(tmp_path / "cat" / "odd\n\N{CAT FACE}.jpg")
    write(tmp_path / "cat" / "readme.txt")
    write(tmp_path / "cat" / ".hidden.jpg")
    write(tmp_path / ".cache" / "x.jpg")
    write(tmp_path / "loose.jpg")
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    write(Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/latin\xe9.jpg")))
    source = image_folder(tmp_path)
    assert {Path(image.source_id).name for image in source} == {
        "zero.jpg",
        "text.png",
        "odd\n\N{CAT FACE}.jpg",
        "gone.jpg",
    }
    assert source.notes == (
        "1 left out: a name that is not valid text",
        "1 left out: directly beside the class folders",
        "1 left out: not named like an image",
    )


def test_links_that_make_a_loop_end(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.jpg")
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    (tmp_path / "up").symlink_to(tmp_path)
    assert [image.source_id for image in image_folder(tmp_path)] == ["cat/a.jpg"]


def test_a_folder_without_classes_says_how_to_lay_it_out(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="has no class folders with images; put the images into one folder a class"):
        image_folder(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        image_folder(tmp_path / "none")


# --- hugging face ---------------------------------------------------------------------------------------------------


def test_parquet_keeps_the_encoded_bytes_the_names_and_the_splits(tables_boats: Path) -> None:
    source = parquet_files(tables_boats)
    rows = list(source)
    table = datasets.load_dataset("parquet", data_files=str(tables_boats / "valid.parquet"), split="train")
    raw = table.cast_column("image", datasets.Image(decode=False))
    validation = [row for row in rows if row.split == "validation"]
    assert [row.image for row in validation] == [row["image"]["bytes"] for row in raw]
    assert {row.label for row in rows} == {"dining table", "gondola"}
    assert rows[0].source_id == "train/000000"
    assert validation[0].source_id == "validation/000000"
    assert len(source) == len(rows)


def test_keep_labels_takes_names_and_numbers_and_leaves_the_ids_as_they_were(tables_boats: Path) -> None:
    every = {row.source_id: row for row in parquet_files(tables_boats)}
    for keep in (["gondola"], ["1"], ["1,gondola"], ["1", "gondola"]):
        kept = list(parquet_files(tables_boats, keep_labels=keep))
        assert {row.label for row in kept} == {"gondola"}
        assert all(every[row.source_id] == row for row in kept)
    with pytest.raises(InputError, match=r"no class 'ferry' to keep; it has: dining table, gondola \(or the numbers 0"):
        parquet_files(tables_boats, keep_labels=["ferry"])


def test_missing_labels_are_none_and_rows_without_image_are_told(tmp_path: Path, dataset_name: Names) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": jpeg(), "path": None}] * 3 + [None], "label": [0, -1, None, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    source = parquet_files(tmp_path / "train.parquet")
    assert [row.label for row in source] == ["a", None, None, "b"]
    notes: list[Step] = []
    opened = import_images(source, dataset_name("nulls"), notes.append)
    assert opened.values("ground_truth.label") == ["a", None, None]
    assert any("hold no image" in step.note for step in notes)


def test_columns_are_found_by_type_and_can_be_chosen(tmp_path: Path) -> None:
    rows = {
        "index": [1, 2],
        "picture": [{"bytes": jpeg(), "path": None}] * 2,
        "coarse": ["x", " "],
        "fine": [3, 4],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(InputError, match="no column that is plainly the label; choose one with --label-column: index"):
        parquet_files(tmp_path)
    assert [row.label for row in parquet_files(tmp_path, label_column="coarse")] == ["x", None]
    assert [row.label for row in parquet_files(tmp_path, label_column="fine")] == ["3", "4"]
    assert {row.split for row in parquet_files(tmp_path, label_column="fine")} == {None}
    with pytest.raises(InputError, match=r"label column 'lable' is not in .*; its columns are: index, picture"):
        parquet_files(tmp_path, label_column="lable")
    with pytest.raises(InputError, match=r"image column 'fine' .* holds no encoded images; these do: picture"):
        parquet_files(tmp_path, image_column="fine", label_column="fine")


def test_a_dataset_saved_to_disk_reads_like_its_parquet(tables_boats: Path, tmp_path: Path) -> None:
    loaded = datasets.load_dataset("parquet", data_files={"train": str(tables_boats / "valid.parquet")})
    loaded.save_to_disk(tmp_path / "saved")
    source = resolve_source(str(tmp_path / "saved"))
    assert isinstance(source, ImportedSource)
    from_disk = [(row.image, row.label) for row in source.images]
    assert from_disk == [(row.image, row.label) for row in parquet_files(tables_boats / "valid.parquet")]


def test_damaged_parquet_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", b"PAR1 and then nothing")
    with pytest.raises(InputError, match="cannot be read as a dataset") as error:
        parquet_files(tmp_path)
    one_line(error)


@pytest.mark.parametrize("answers", ["nobody listens", "nobody answers"])
def test_a_hub_that_cannot_be_reached_costs_seconds_and_says_what_to_do(
    answers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if answers == "nobody answers":
            silent.listen()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.perf_counter()
        with pytest.raises(InputError, match=r"hub cannot be reached .* download its parquet files") as error:
            hub_dataset("Maysee/tiny-imagenet")
    one_line(error)
    assert time.perf_counter() - began < 10


def test_a_hub_dataset_in_the_cache_needs_no_hub(
    tables_boats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    builder = datasets.load_dataset_builder("parquet", data_files={"train": str(tables_boats / "valid.parquet")})
    builder.download_and_prepare()
    prepared = Path(builder.cache_dir)
    cached = tmp_path / "house___boats" / "default" / "0.0.0" / prepared.name
    shutil.copytree(prepared, cached)
    for arrow in cached.glob("parquet-*.arrow"):
        arrow.rename(arrow.with_name(arrow.name.replace("parquet-", "boats-")))
    assert len(hub_dataset("house/boats")) == len(parquet_files(tables_boats / "valid.parquet"))


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_text_is_taken_as_path_then_as_dataset_then_as_hub_name(
    tables_boats: Path, tmp_path: Path, dataset_name: Names
) -> None:
    write(tmp_path / "cat" / "a.jpg")
    fo.Dataset(dataset_name("house pets"))
    assert resolve_source("digits").description == "digits"
    assert resolve_source(str(tmp_path)).description == f"folder:{tmp_path}"
    assert resolve_source(f"folder:{tmp_path}").description == f"folder:{tmp_path}"
    assert resolve_source(str(tables_boats)).description.startswith("parquet:")
    assert resolve_source("house pets") == FiftyOneSource("house pets")
    assert resolve_source("fiftyone:house pets", view="x", label_field="y") == FiftyOneSource("house pets", "x", "y")


def test_an_unknown_source_says_what_was_tried_and_what_is_near(dataset_name: Names, tmp_path: Path) -> None:
    fo.Dataset(dataset_name("my-pets"))
    with pytest.raises(InputError, match=r"'my-pet' is no path .* \(did you mean 'my-pets'\?\)") as error:
        resolve_source("my-pet")
    one_line(error)
    with pytest.raises(InputError, match="names nothing after hf:"):
        resolve_source("hf:")
    with pytest.raises(InputError, match=r"is a file but no .parquet file"):
        resolve_source(str(write(tmp_path / "x.zip")))
    with pytest.raises(InputError, match="is no path that exists"):
        resolve_source("")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("digits", {"view": "flagged"}),
        ("digits", {"image_column": "image"}),
        ("fiftyone:pets", {"dataset": "other"}),
        ("fiftyone:pets", {"label_column": "label"}),
    ],
)
def test_an_option_that_does_not_go_with_the_source_is_refused(text: str, options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="does not go with"):
        resolve_source(text, **options)  # type: ignore[arg-type]


def test_opening_an_existing_dataset_checks_view_field_and_classes(dataset_name: Names) -> None:
    dataset = fo.Dataset(dataset_name("existing"))
    dataset.add_samples(
        [
            fo.Sample(f"/tmp/{number}.jpg", ground_truth=fo.Classification(label=label))
            for number, label in enumerate(["a", "a", "b", "b", "c", "tench, Tinca tinca"])
        ]
    )
    dataset.save_view("first", dataset.limit(3))
    assert len(resolve_source("existing", view="first").open()) == 3
    for keep in (["a", "c"], ["a, c"], ["a", "tench, Tinca tinca"]):
        assert len(resolve_source("existing", keep_labels=keep).open()) == 3
    with pytest.raises(InputError, match="has no saved view 'frist'; it has: first"):
        resolve_source("existing", view="frist").open()
    with pytest.raises(InputError, match="no class 'd' to keep; it has: a, b, c, tench"):
        resolve_source("existing", keep_labels=["d"]).open()
    with pytest.raises(InputError, match="there is no FiftyOne dataset 'exisitng'"):
        resolve_source("fiftyone:exisitng").open()


# --- import ---------------------------------------------------------------------------------------------------------


def test_importing_twice_adds_nothing_and_writes_nothing_again(dataset_name: Names) -> None:
    steps: list[Step] = []
    source = resolve_source("digits", dataset=dataset_name("digits-twice"), keep_labels=["0", "1"])
    first = source.open(steps.append)
    before = {path: Path(path).stat().st_mtime_ns for path in first.values("filepath")}
    ids = first.values("id")
    second = source.open()
    assert second.values("id") == ids
    assert {path: Path(path).stat().st_mtime_ns for path in second.values("filepath")} == before
    assert all(image_home() in Path(path).parents for path in before)
    assert steps[-1] == Step("import", len(ids), len(ids), "images")
    dataset = fo.load_dataset("digits-twice")
    assert dataset.persistent
    assert dataset.media_type == "image"
    assert dataset.info["influence_audit"] == {"source": "digits"}


def test_a_correction_in_fiftyone_outlives_imports_and_a_change_of_the_source_arrives(dataset_name: Names) -> None:
    name = dataset_name("corrections")
    import_images(images(("1", jpeg(1), "cat"), ("2", jpeg(2), "cat"), ("3", jpeg(3), "cat")), name)
    dataset = fo.load_dataset(name)
    dataset.match({"source_id": {"$in": ["1", "3"]}}).set_values(
        "ground_truth", [fo.Classification(label="lynx"), fo.Classification(label="lynx")]
    )
    steps: list[Step] = []
    import_images(images(("1", jpeg(1), "cat"), ("2", jpeg(2), "dog"), ("3", jpeg(3), "dog")), name, steps.append)
    labels = dict(zip(*dataset.values(["source_id", "ground_truth.label"]), strict=True))
    assert labels == {"1": "lynx", "2": "dog", "3": "lynx"}
    assert dataset.values("source_label") == ["cat", "dog", "dog"]
    assert [step.note for step in steps if step.note] == [
        "1 label(s) updated, as they changed in test:rows",
        "1 label(s) changed in test:rows but were corrected in FiftyOne; corrections stay",
    ]


def test_what_left_the_source_stays_outside_the_audited_view_until_it_comes_back(dataset_name: Names) -> None:
    name = dataset_name("leaving")
    both = images(("1", jpeg(1), "a"), ("2", jpeg(2), "b"))
    import_images(both, name)
    view = import_images(images(("1", jpeg(1), "a")), name)
    assert view.values("source_id") == ["1"]
    assert fo.load_dataset(name).count_sample_tags() == {LEFT_SOURCE: 1}
    assert import_images(both, name).values("source_id") == ["1", "2"]
    assert fo.load_dataset(name).count_sample_tags() == {}


def test_keeping_some_labels_is_no_leaving(dataset_name: Names) -> None:
    name = dataset_name("keeping")
    import_images(digits(["0", "1", "2"]), name)
    view = import_images(digits(["1"]), name)
    assert view.distinct("ground_truth.label") == ["1"]
    assert fo.load_dataset(name).count_sample_tags() == {}
    assert fo.load_dataset(name).distinct("ground_truth.label") == ["0", "1", "2"]


def test_a_changed_image_replaces_its_file(dataset_name: Names) -> None:
    name = dataset_name("changing")
    (old,) = import_images(images(("1", jpeg(1), "a")), name).values("filepath")
    (new,) = import_images(images(("1", jpeg(200), "a")), name).values("filepath")
    assert not Path(old).exists()
    assert Path(new).read_bytes() == jpeg(200)


def test_file_names_stay_in_the_folder_of_their_dataset_whatever_the_source_calls_them(dataset_name: Names) -> None:
    ids = ["../../../etc/passwd", "/abs", "a\0b", "..", "x" * 500, "\N{CAT FACE}", "\N{DOG FACE}"]
    rows = [(source_id, jpeg(number), "a") for number, source_id in enumerate(ids)]
    view = import_images(images(*rows), dataset_name("hostile names"))
    folder = image_home() / "hostile-names"
    paths = [Path(path) for path in view.values("filepath")]
    assert len(set(paths)) == len(ids)
    assert all(path.resolve().is_relative_to(folder) and path.is_file() for path in paths)


def test_files_are_named_after_their_content(dataset_name: Names) -> None:
    encoded = {}
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4)).save(buffer, kind)
        encoded[kind] = buffer.getvalue()
    rows = [(kind, content, "a") for kind, content in encoded.items()]
    view = import_images(images(*rows, ("broken", b"nothing", "a")), dataset_name("kinds"))
    suffixes = Counter(Path(path).suffix for path in view.values("filepath"))
    assert suffixes == {".jpg": 2, ".png": 1, ".gif": 1, ".bmp": 1, ".tif": 1, ".webp": 1}


def test_a_dataset_that_someone_else_made_is_never_written_into(dataset_name: Names) -> None:
    fo.Dataset(dataset_name("theirs"))
    with pytest.raises(InputError, match=r"not made by influence-audit; .*--dataset NAME.* fiftyone:theirs"):
        import_images(images(), "theirs")
    import_images(images(("1", jpeg(), "a"), name="one"), dataset_name("ours"))
    with pytest.raises(InputError, match="was made from test:one, not from test:two"):
        import_images(images(name="two"), "ours")
    with pytest.raises(InputError, match="cannot be the name"):
        import_images(images(), "???")
    with pytest.raises(InputError, match=r"cannot be made .*in use by dataset 'theirs'"):
        import_images(images(), "Theirs")


def test_parquet_becomes_a_dataset_with_splits_as_tags(tables_boats: Path, dataset_name: Names) -> None:
    view = resolve_source(str(tables_boats), dataset=dataset_name("boats")).open()
    tags = view.count_sample_tags()
    assert set(tags) == {"train", "validation"}
    assert sum(tags.values()) == len(view)
    stored = dict(zip(*view.values(["source_id", "filepath"]), strict=True))
    for row in list(parquet_files(tables_boats))[:5]:
        assert Path(stored[row.source_id]).read_bytes() == row.image
