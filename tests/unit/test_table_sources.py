"""Tables of labels as people have them become sources: found columns, found pictures, and what is asked or refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from audit.errors import InputError
from integrations.sources import ImportedSource, resolve_source
from integrations.sources.csv_and_json import read_text_table
from integrations.sources.labelled_images import LabelledImages
from integrations.sources.table import read_label_table

NAMES = [f"{number:03d}.png" for number in range(12)]
LABELS = ["cat", "dog", "owl"] * 4


def picture(shade: int) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(encoded, "PNG")
    return encoded.getvalue()


def pictures(folder: Path, names: list[str] = NAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(shade))
    return folder


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def csv(path: Path, header: str, names: list[str] = NAMES, labels: list[str] = LABELS, end: str = "\n") -> Path:
    delimiter = next(mark for mark in ",;\t|" if mark in header)
    lines = [header, *(f"{name}{delimiter}{label}" for name, label in zip(names, labels, strict=True))]
    return write(path, "".join(line + end for line in lines))


def source(path: Path | str, **options: Any) -> LabelledImages:
    resolved = resolve_source(str(path), **options)
    assert isinstance(resolved, ImportedSource)
    return resolved.images


def refusal(path: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        source(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def check(images: LabelledImages, labels: list[str] = LABELS) -> LabelledImages:
    """All pictures of NAMES, in order, with these labels."""
    assert [image.image.name for image in images if isinstance(image.image, Path)] == NAMES
    assert [image.label for image in images] == labels
    return images


# --- forms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("labels.csv", "filename,label"),
        ("LABELS.CSV", "Image,Class"),
        ("labels.tsv", "path\ttarget"),
        ("export.csv", "file_name;category"),
        ("export.psv", "img|species"),
        ("labels.csv", "picture of it,kind of animal"),
        ("labels.csv", "Image Path,ClassId"),
        ("labels.csv", "fileName,class-name"),
    ],
)
def test_columns_are_found_in_any_separated_file(tmp_path: Path, name: str, header: str) -> None:
    pictures(tmp_path / "images")
    images = check(source(csv(tmp_path / name, header, [f"images/{file}" for file in NAMES])))
    assert images.description == f"table:{tmp_path / name}"
    assert [image.source_id for image in images] == [f"images/{file}" for file in NAMES]
    assert repr(images.label_column) in images.layout


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends_are_understood(tmp_path: Path, encoding: str, end: str) -> None:
    pictures(tmp_path)
    text = csv(tmp_path / "labels.csv", "filename,label", labels=["Rötkehlchen", "Käuzchen"] * 6, end=end).read_text()
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    check(source(tmp_path / "labels.csv"), ["Rötkehlchen", "Käuzchen"] * 6)


def test_quoted_cells_may_hold_anything(tmp_path: Path) -> None:
    pictures(tmp_path)
    rows = [f'{name},"says ""{label}"",\nover two lines","{label}"' for name, label in zip(NAMES, LABELS, strict=True)]
    check(source(write(tmp_path / "labels.csv", "\n".join(["file,caption,label", *rows]))))


def test_spaces_behind_delimiters_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    pictures(tmp_path)
    rows = [f"{name}, {label}\n\n" for name, label in zip(NAMES, LABELS, strict=True)]
    check(source(write(tmp_path / "labels.csv", "file, label\n" + "".join(rows))))


def test_excels_hint_at_the_delimiter_is_no_header(tmp_path: Path) -> None:
    pictures(tmp_path)
    text = csv(tmp_path / "labels.csv", "file;label").read_text()
    check(source(write(tmp_path / "labels.csv", f"sep=;\r\n{text}")))


def test_a_table_without_a_header_has_numbered_columns(tmp_path: Path) -> None:
    pictures(tmp_path)
    table = write(
        tmp_path / "labels.csv", "".join(f"{name},{label}\n" for name, label in zip(NAMES, LABELS, strict=True))
    )
    assert check(source(table)).label_column == "column 2"


def test_a_list_in_plain_text_is_a_table_where_it_is_named(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    lines = [f"images/{name} {place % 3}\n" for place, name in enumerate(NAMES)]
    check(source(write(tmp_path / "train.txt", "".join(lines))), ["0", "1", "2"] * 4)


def test_a_table_in_a_folder_beside_the_pictures_is_found(tmp_path: Path) -> None:
    pictures(tmp_path / "pictures")
    csv(tmp_path / "lists" / "labels.csv", "file,label", [f"pictures/{name}" for name in NAMES])
    check(source(tmp_path))


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json"])
def test_records_in_json_are_a_table(tmp_path: Path, suffix: str) -> None:
    pictures(tmp_path)
    records = [{"file_name": name, "label": place % 3} for place, name in enumerate(NAMES)]
    text = json.dumps(records) if suffix == ".json" else "".join(json.dumps(record) + "\n" for record in records)
    check(source(write(tmp_path / f"labels{suffix}", text)), ["0", "1", "2"] * 4)


# --- columns --------------------------------------------------------------------------------------------------------


def test_numbers_as_labels_stay_as_they_are_written(tmp_path: Path) -> None:
    pictures(tmp_path)
    check(source(csv(tmp_path / "a.csv", "file,label", labels=["007", "1", "07"] * 4)), ["007", "1", "07"] * 4)


def test_what_could_be_two_labels_is_asked_and_can_be_chosen(tmp_path: Path) -> None:
    pictures(tmp_path)
    rows = [f"{name},{place % 2},{place % 3}\n" for place, name in enumerate(NAMES)]
    table = write(tmp_path / "labels.csv", "file,colour,shape\n" + "".join(rows))
    assert "choose one with --label-column: colour, shape" in refusal(table)
    assert source(table, label_column="shape").label_column == "shape"
    assert "label column 'size' is not in" in refusal(table, label_column="size")
    assert "names the pictures; choose another" in refusal(table, label_column="file")


def test_what_could_be_two_pictures_is_asked_and_can_be_chosen(tmp_path: Path) -> None:
    pictures(tmp_path / "left")
    pictures(tmp_path / "right")
    rows = [f"left/{name},right/{name},{label}\n" for name, label in zip(NAMES, LABELS, strict=True)]
    table = write(tmp_path / "labels.csv", "left view,right view,label\n" + "".join(rows))
    assert "choose one with --image-column: left view, right view" in refusal(table)
    check(source(table, image_column="right view"))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("split", ["train", "val", "test"]),
        ("Subset", ["Training", "Validation", "Testing"]),
        ("is_valid", ["False", "True", "False"]),
    ],
)
def test_a_split_column_gives_splits_and_is_no_label(tmp_path: Path, column: str, values: list[str]) -> None:
    pictures(tmp_path)
    rows = [
        f"{name},{values[place % 3]},{label}\n" for place, (name, label) in enumerate(zip(NAMES, LABELS, strict=True))
    ]
    images = check(source(write(tmp_path / "labels.csv", f"file,{column},animal\n" + "".join(rows))))
    third = "test" if "est" in values[2] else "train"
    assert [image.split for image in images] == ["train", "validation", third] * 4
    assert f"splits by column {column!r}" in images.layout


def test_folders_in_the_paths_give_splits_where_no_column_does(tmp_path: Path) -> None:
    """As a metadata.csv above the folders of the splits has it."""
    names = [f"{split}/{name}" for split in ("train", "test") for name in NAMES]
    pictures(tmp_path, names)
    images = source(csv(tmp_path / "metadata.csv", "file_name,label", names, LABELS * 2))
    assert [image.split for image in images] == ["train"] * 12 + ["test"] * 12
    assert "splits by the folders in column 'file_name'" in images.layout


def test_a_column_for_each_class_is_refused_with_the_line_that_makes_one(tmp_path: Path) -> None:
    pictures(tmp_path)
    rows = [f"{name},{place % 2}.0,{1 - place % 2}.0\n" for place, name in enumerate(NAMES)]
    message = refusal(write(tmp_path / "truth.csv", "image,cat,dog\n" + "".join(rows)))
    assert message.endswith("in pandas, table['label'] = table[['cat', 'dog']].idxmax(axis=1)")


def test_lists_and_addresses_are_refused_with_the_way_out(tmp_path: Path) -> None:
    pictures(tmp_path)
    lists = [json.dumps({"file": name, "label": [label]}) for name, label in zip(NAMES, LABELS, strict=True)]
    assert "holds lists" in refusal(write(tmp_path / "lists.jsonl", "\n".join(lists)))
    web = csv(tmp_path / "web.csv", "url,label", [f"https://example.org/not-{name}" for name in NAMES])
    assert "download the images first" in refusal(web)


# --- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    ["images/{}", "images\\{}", "C:\\Users\\me\\data\\images\\{}", "/home/me/data/images/{}", "./images/{}", "{}"],
)
def test_paths_of_other_machines_lead_to_the_pictures_here(tmp_path: Path, form: str) -> None:
    pictures(tmp_path / "images")
    check(source(csv(tmp_path / "labels.csv", "file,label", [form.format(name) for name in NAMES])))


def test_the_folder_of_the_pictures_can_be_given(tmp_path: Path) -> None:
    pictures(tmp_path / "elsewhere")
    table = csv(tmp_path / "tables" / "labels.csv", "file,label")
    assert "give their folder with --images" in refusal(table)
    check(source(table, images=tmp_path / "elsewhere"))
    assert "does not exist or is not a folder" in refusal(table, images=tmp_path / "nowhere")


def test_ids_without_a_suffix_are_found_in_the_tables_own_folder(tmp_path: Path) -> None:
    """As Kaggle's competitions have it: train.csv beside train/ and test/ with the same ids."""
    pictures(tmp_path / "train")
    pictures(tmp_path / "test")
    csv(tmp_path / "train.csv", "id,breed", [name.removesuffix(".png") for name in NAMES])
    write(tmp_path / "test.csv", "id\n" + "".join(f"{name.removesuffix('.png')}\n" for name in NAMES))
    csv(tmp_path / "sample_submission.csv", "id,label", [name.removesuffix(".png") for name in NAMES], ["0"] * 12)
    for place in (tmp_path / "train.csv", tmp_path):
        images = check(source(place))
        assert {image.image.parent.name for image in images if isinstance(image.image, Path)} == {"train"}
        assert images.description == f"table:{tmp_path / 'train.csv'}"


def test_missing_pictures_and_empty_names_are_left_out_and_counted(tmp_path: Path) -> None:
    pictures(tmp_path)
    table = csv(tmp_path / "a.csv", "file,label", [*NAMES, "gone.png", ""], [*LABELS, "cat", "dog"])
    images = check(source(table))
    assert [(row.source_id, row.label) for row in images.left_out] == [("row 14", "dog"), ("gone.png", "cat")]
    assert images.notes[1].startswith("1 row left out (class 'cat': 1): the picture that they name is not there")
    assert source(table, keep_labels=["owl"]).left_out == ()


def test_a_picture_that_is_named_twice_is_audited_twice_under_two_keys(tmp_path: Path) -> None:
    pictures(tmp_path)
    images = source(csv(tmp_path / "a.csv", "file,label", [*NAMES, NAMES[0]], [*LABELS, "dog"]))
    assert [image.source_id for image in images] == [*NAMES, f"{NAMES[0]} (row 13)"]
    assert images.notes == ("1 row(s) name a picture that another row names too; all are audited",)


def test_of_pictures_with_one_name_none_is_guessed(tmp_path: Path) -> None:
    pictures(tmp_path / "a", NAMES)
    pictures(tmp_path / "b", NAMES[:1])
    table = csv(tmp_path / "list.csv", "id,label", [name.removesuffix(".png") for name in NAMES])
    assert [row.source_id for row in source(table).left_out] == ["000"]


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_with_images_and_a_table_is_the_table(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    table = csv(tmp_path / "labels.csv", "file,label")
    write(tmp_path / "class_names.csv", "number,name\n0,cat\n1,dog\n2,owl\n")
    for place in (tmp_path, table, f"table:{tmp_path}", f"table:{table}"):
        images = check(source(place))
        assert (images.description, images.name) == (f"table:{table}", tmp_path.name)
    assert "give --layout" not in refusal(f"folder:{tmp_path}")


def test_metadata_beside_the_pictures_of_each_split_is_one_source(tmp_path: Path) -> None:
    for split in ("train", "test"):
        csv(pictures(tmp_path / split) / "metadata.csv", "file_name,label")
    images = source(tmp_path)
    assert [(image.source_id, image.split) for image in images][::12] == [
        ("test/000.png", "test"),
        ("train/000.png", "train"),
    ]
    assert len(images) == 24
    assert images.description == f"table:{tmp_path}"


def test_what_our_commands_wrote_beside_a_table_is_no_table_of_labels(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    table = csv(tmp_path / "labels.csv", "file,label")
    csv(tmp_path / "corrected.csv", "file,label")
    write(tmp_path / "corrected.log.csv", "key,filepath,old_label,new_label\n")
    write(
        tmp_path / "flagged.csv", "id,filepath,split,label\n" + "".join(f"1,images/{name},train,a\n" for name in NAMES)
    )
    write(
        tmp_path / "flagged.json", json.dumps([{"id": "1", "filepath": "images/000.png", "split": "train"}], indent=2)
    )
    assert check(source(tmp_path)).description == f"table:{table}"
    check(source(tmp_path / "corrected.csv"))


def test_several_tables_are_asked_about(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    for name in ("alice.csv", "bob.csv"):
        csv(tmp_path / name, "file,label")
    message = refusal(tmp_path)
    assert "(alice.csv, bob.csv)" in message
    check(source(message.rpartition("give one: ")[2]))


def test_class_folders_and_a_table_with_other_labels_are_asked_about(tmp_path: Path) -> None:
    places = [f"{label}/{name}" for name, label in zip(NAMES, LABELS, strict=True)]
    pictures(tmp_path, places)
    csv(tmp_path / "labels.csv", "file,label", places)
    assert source(tmp_path).description == f"folder:{tmp_path}"
    csv(tmp_path / "labels.csv", "file,label", places, ["dog", *LABELS[1:]])
    message = refusal(tmp_path)
    assert "a picture in 'cat' is 'dog'" in message
    for choice in (f"folder:{tmp_path}", f"table:{tmp_path / 'labels.csv'}"):
        assert choice in message
        assert len(source(choice)) == 12
    assert source(tmp_path, label_column="label").description.startswith("table:")


def test_options_of_tables_do_not_apply_to_other_sources(tmp_path: Path) -> None:
    pictures(tmp_path / "cat")
    pictures(tmp_path / "dog")
    assert "--images does not apply to 'digits'" in refusal("digits", images=tmp_path)
    assert "--images does not apply" in refusal(f"folder:{tmp_path}", images=tmp_path)
    assert "holds no rows" in refusal(write(tmp_path / "empty.csv", "file,label\n"))
    assert "does not exist" in refusal(f"table:{tmp_path / 'none.csv'}")
    assert "a workbook is not read; save it as CSV" in refusal(write(tmp_path / "labels.xlsx", b"PK"))


# --- written back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        'file,note,label\r\n000.png,"a ""b"", c","cat"\r\n001.png,,dog\r\n002.png,x,owl',
        "\ufefffile;label\n000.png;cat\n001.png;dog\n\n002.png;owl\n",
        "file, label\n000.png, cat\n001.png, dog\n002.png, owl\n",
    ],
)
def test_only_the_changed_cells_differ(tmp_path: Path, content: str) -> None:
    pictures(tmp_path)
    path = write(tmp_path / "a.csv", content)
    table = read_label_table(path)
    (file,) = table.tables
    assert file.rewritten(table.labels, {}) == path.read_bytes()
    changed = file.rewritten(table.labels, {1: "great owl"}).decode()
    assert changed == content.replace("dog", "great owl")
    path.write_bytes(file.rewritten(table.labels, {0: 'a, "b"; c'}))
    assert [row.label for row in read_label_table(path).rows] == ['a, "b"; c', "dog", "owl"]


def test_a_letter_that_the_encoding_does_not_have_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path)
    table = read_label_table(
        write(tmp_path / "a.csv", "file,label\n000.png,K\xe4uz\n001.png,cat\n".encode("cp1252")), label="label"
    )
    assert table.tables[0].rewritten("label", {1: "K\xe4uz"}).endswith("001.png,K\xe4uz\n".encode("cp1252"))
    with pytest.raises(InputError, match="is in cp1252, which does not have the letter '\u732b'"):
        table.tables[0].rewritten("label", {1: "\u732b"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"file": "000.png", "label": "cat"}\n{"file":"001.png","label":"dog","n":1.0}\n'),
        (
            "a.json",
            json.dumps([{"file": "000.png", "label": "cat"}, {"file": "001.png", "label": "dog"}], indent=2) + "\n",
        ),
    ],
)
def test_only_the_changed_records_differ(tmp_path: Path, name: str, content: str) -> None:
    pictures(tmp_path)
    table = read_label_table(write(tmp_path / name, content), label="label")
    assert table.tables[0].rewritten("label", {1: "owl"}).decode() == content.replace("dog", "owl")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("file,label\na.png,cat\nb.png,dog\n", "file,label,new\na.png,cat,\nb.png,dog,fox\n"),
        (
            '"file";"label"\r\n"a.png";"cat"\r\n\r\nb.png;dog',
            '"file";"label";"new"\r\n"a.png";"cat";""\r\n\r\nb.png;dog;fox',
        ),
        ("file,label,note\na.png,cat\nb.png,dog,x,y\n", "file,label,note,new\na.png,cat,,\nb.png,dog,x,fox,y\n"),
        ("sep=;\nfile;label\na.png;cat\nb.png;dog\n", "sep=;\nfile;label;new\na.png;cat;\nb.png;dog;fox\n"),
        ("a.png,cat\nb.png,dog\n", "a.png,cat,\nb.png,dog,fox\n"),
    ],
)
def test_a_new_column_stands_behind_the_others(content: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(content.encode())
    written = read_text_table(tmp_path / "labels.csv").rewritten("new", {1: "fox"})
    assert written.decode() == expected
    (tmp_path / "labels.csv").write_bytes(written)
    read = list(read_text_table(tmp_path / "labels.csv").columns.values())
    assert any(column in (["", "fox"], [None, "fox"]) for column in read)
