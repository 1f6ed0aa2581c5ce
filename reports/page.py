"""The parts that all pages share: escaping templates, inlined scripts and styles, and a content security policy."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from audit.errors import InputError
from audit.files.storage import replace_file
from reports import ranges, text


def write_page(html: str, path: str | Path) -> Path:
    """Write a page to a file. An existing file is replaced completely or not at all.

    Raises:
        InputError: if the file cannot be written.
    """
    path = Path(path)
    # File names may contain lone surrogates, which UTF-8 cannot encode.
    content = html.encode("utf-8", errors="replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return replace_file(path, content)
    except OSError as error:
        raise InputError(f"report {str(path)!r} cannot be written ({error.strerror}); give another path") from None


@cache
def environment() -> Environment:
    """The Jinja environment of the templates, with filters for numbers."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": text.count,
        "share": text.share,
        "decimal": text.decimal,
        "signed": text.signed,
        "threshold": text.threshold,
        "sentence": text.sentence,
        "percent": lambda number: "–" if number is None else ranges.percent(number),
        "share_range": lambda number: "–" if number is None else ranges.share_range(number),
        "count_range": ranges.count_range,
        "live": live,
    }
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


_MARKED = re.compile("\x02(.*?)\x03(.*?)\x04")


def mark(name: str, text: str) -> str:
    """A `text.Mark`: mark a number that depends on the threshold, for the filter `live`."""
    return f"\x02{name}\x03{text}\x04"


def live(text: str) -> Markup:
    """Turn the marked numbers of a text into elements that the page's script can find."""
    parts = _MARKED.split(text)
    html = Markup("").join(parts[:1])
    for name, number, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        html += Markup('<span data-live="{}">{}</span>{}').format(name, number, after)
    return html


@cache
def asset(name: str) -> Markup:
    """A script or style from the templates' folder, to put into a page unescaped."""
    text = Path(__file__).with_name("templates").joinpath(name).read_text(encoding="utf-8").strip()
    return Markup(text)  # noqa: S704  # ours, and the policy names its digest


@cache
def script(parts: tuple[str, ...]) -> Markup:
    """The parts of the report's script from `templates/report/`, as one script whose names are its own."""
    body = "\n".join(asset(f"report/{part}.js") for part in parts)
    return Markup(f'"use strict";\n(() => {{\n{body}\n}})();')  # noqa: S704  # ours, and the policy names its digest


def policy(scripts: Sequence[str], style: str) -> str:
    """A content security policy that allows only a page's own scripts and style, and no network access."""
    hashes = " ".join(map(_source_hash, scripts)) or "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; style-src {_source_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
