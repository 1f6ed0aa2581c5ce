"""Every test session has a FiftyOne, a cache and a home of its own, and leaves no process behind."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# A shell's background jobs ignore SIGINT, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time: what passed once does not fail where nothing changed.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")

_SESSION = Path(tempfile.mkdtemp(prefix="influence-audit-tests-"))

# Set while this file is imported: FiftyOne reads them once, when it is first imported.
os.environ.update(
    {
        "FIFTYONE_DATABASE_DIR": str(_SESSION / "database"),
        "FIFTYONE_DATABASE_NAME": f"influence_audit_tests_{os.getpid()}",
        "FIFTYONE_DEFAULT_DATASET_DIR": str(_SESSION / "datasets"),
        "FIFTYONE_PLUGINS_DIR": str(_SESSION / "plugins"),
        "FIFTYONE_DO_NOT_TRACK": "true",
        "HF_DATASETS_CACHE": str(_SESSION / "huggingface"),
        "INFLUENCE_AUDIT_CACHE": str(_SESSION / "cache"),
        "INFLUENCE_AUDIT_HOME": str(_SESSION / "home"),
        "OMP_WAIT_POLICY": "PASSIVE",  # as `import audit` sets it, for tests that import torch first
    }
)


def _start_database() -> subprocess.Popen[bytes] | None:
    """A mongod for this session alone: FiftyOne by itself would join whichever of its kind runs on this machine.

    None where the user names a server, or FiftyOne has no mongod of its own.
    """
    mongod = Path(sysconfig.get_path("purelib")) / "fiftyone" / "db" / "bin" / "mongod"
    if os.environ.get("FIFTYONE_DATABASE_URI") or not mongod.is_file():
        return None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = _SESSION / "mongod"
    folder.mkdir()
    places = ["--dbpath", str(folder), "--logpath", str(_SESSION / "mongod.log")]
    process = subprocess.Popen(
        [str(mongod), *places, "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"],
        stdout=subprocess.DEVNULL,
    )
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                os.environ["FIFTYONE_DATABASE_URI"] = f"mongodb://127.0.0.1:{port}"
                os.environ["FIFTYONE_DATABASE_VALIDATION"] = "false"  # its version is FiftyOne's own choice
                return process
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise pytest.UsageError(f"mongod did not start; its log:\n{(_SESSION / 'mongod.log').read_text()[-2000:]}")


_DATABASE = _start_database()

SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@atexit.register
def _leave_nothing() -> None:
    """Stop what this process started and is still there (mongod's keeper waits for us to be gone), and clean up."""
    # On a server of the user's own, only our database goes: FiftyOne has the user's where it was imported before this.
    fiftyone = sys.modules.get("fiftyone")
    if _DATABASE is None and fiftyone and fiftyone.config.database_name == os.environ["FIFTYONE_DATABASE_NAME"]:
        fiftyone.core.odm.drop_database()
    started = psutil.Process().children(recursive=True)
    for process in started:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(started, timeout=10)
    for process in alive:
        process.kill()
    shutil.rmtree(_SESSION, ignore_errors=True)


def pytest_report_header() -> str:
    """Say which data the tests on shared data run on."""
    if SHARED_DATA.is_dir():
        return "shared data: found"
    return "shared data: not here; its tests run on parquet files made of scikit-learn's digits"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With a browser test's failure, tell what its windows showed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    opened = getattr(item, "funcargs", {}).get("browser")
    if not report.failed or opened is None:
        return
    from playwright.sync_api import Error

    for number, page in enumerate(page for context in opened.contexts for page in context.pages):
        picture = _SESSION.parent / f"{item.name}-{number}.png"
        try:
            page.screenshot(path=picture)
            shown = page.inner_text("body")[:4000]
        except Error as error:  # it crashed, say: the test's own failure is what matters
            shown = f"cannot be shown ({error.message})"
        report.sections.append((f"window at {page.url}, {picture}", shown))


@pytest.fixture
def dataset_name() -> Iterator[Callable[[str], str]]:
    """Makes names of FiftyOne datasets that are deleted after the test."""
    import fiftyone as fo

    given: list[str] = []

    def name(text: str) -> str:
        given.append(text)
        return text

    yield name
    for text in given:
        if fo.dataset_exists(text):
            fo.delete_dataset(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium or Chrome; where there is none, the tests that ask for it are reported as not made."""
    from playwright.sync_api import sync_playwright

    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"browser test not made: none of {', '.join(BROWSERS)} is on this machine")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=BROWSER_OPTIONS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def tables_boats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.parquet and valid.parquet of two classes: shared data, or the same made of digits.

    A plain clone has no shared data; it then holds the digits 0 and 1 in the same form, and the test goes the same way.
    """
    shared = SHARED_DATA / "tiny-imagenet-tables-boats"
    if shared.is_dir():
        return shared
    return _digits_parquet(tmp_path_factory.mktemp("tables-boats"))


def _digits_parquet(folder: Path) -> Path:
    from datasets import ClassLabel, Dataset, Features, Image

    from integrations.digits import digits

    images = list(digits(["0", "1"]))
    features = Features({"image": Image(), "label": ClassLabel(names=["dining table", "gondola"])})
    for split, part in {"train": images[:320], "valid": images[320:]}.items():
        rows = {
            "image": [{"bytes": image.image, "path": None} for image in part],
            "label": [int(image.label == "1") for image in part],
        }
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")
    return folder
