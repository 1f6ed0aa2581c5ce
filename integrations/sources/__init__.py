"""Where labelled images come from: one text names any source, and every source opens as a FiftyOne collection."""

from integrations.sources.resolve import (
    DEFAULT_LABEL_FIELD,
    FiftyOneSource,
    ImportedSource,
    Source,
    resolve_source,
)

__all__ = ["DEFAULT_LABEL_FIELD", "FiftyOneSource", "ImportedSource", "Source", "resolve_source"]
