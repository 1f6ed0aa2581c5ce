"""`python -m audit.summary` prints the JSON Schema of summary.json."""

from __future__ import annotations

import json

from audit.summary.schema import summary_schema

if __name__ == "__main__":
    print(json.dumps(summary_schema(), indent=1, ensure_ascii=False))
