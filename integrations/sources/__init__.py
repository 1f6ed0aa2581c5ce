"""Where labelled images come from: one text names any source, and every source opens as a FiftyOne collection."""

from integrations.sources.resolve import (
    FiftyOneSource,
    ImportedSource,
    Source,
    resolve_source,
)

__all__ = ["FiftyOneSource", "ImportedSource", "Source", "resolve_source"]
