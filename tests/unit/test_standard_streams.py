"""Output in an encoding that lacks characters, to a reader that has gone, or to a disk that is full."""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from integrations.cli.standard_streams import PLAIN, _in_plain_characters, as_json
from tests import ROOT

SCRIPT = """
import sys
from integrations.cli.standard_streams import prepare, write_bytes
prepare()
print("≈ 3 ≥ 2 → é … カ │", sys.argv[1])
print("a" * 200_000)
print("to the end", file=sys.stderr)
write_bytes("é".encode())
"""


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    codecs.register_error(PLAIN, _in_plain_characters)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"~ 3 >= 2 -> \\xe9 ... \\u30ab | \\xe9"),
        ("latin-1", b"~ 3 >= 2 -> \xe9 ... \\u30ab | \\xe9"),
        ("cp1252", b"~ 3 >= 2 -> \xe9 \x85 \\u30ab | \\xe9"),
        ("utf-8", "≈ 3 ≥ 2 → é … カ │ \\xe9".encode()),
    ],
)
def test_what_an_encoding_lacks_is_written_in_plain_characters(encoding: str, shown: bytes) -> None:
    text = "≈ 3 ≥ 2 → é … カ │ \udce9"  # the last is a byte of a file's name that is not UTF-8
    assert text.encode(encoding, PLAIN) == shown


@pytest.mark.parametrize("text", ["≈ カ", "caf\udce9", '"quoted"'])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", None])
def test_json_stays_json_in_any_encoding(text: str, encoding: str | None) -> None:
    written = as_json({"class": text}, encoding)
    assert json.loads(written.encode(encoding or "ascii").decode(encoding or "ascii")) == {"class": text}


def run(tmp_path: Path, stdout: int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    return subprocess.run(
        [sys.executable, tmp_path / "script.py", os.fsencode(tmp_path / "caf") + b"\xe9"],
        env={**os.environ, "PYTHONPATH": str(ROOT)} | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {},
    ],
)
def test_a_process_ends_well_in_any_encoding(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path, subprocess.PIPE, **environment)
    assert (done.returncode, done.stderr) == (0, b"to the end\n")
    assert done.stdout.endswith("é".encode())  # bytes are what they are


def test_a_reader_that_has_gone_ends_the_output_and_not_the_work(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(tmp_path, writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"to the end\n")
