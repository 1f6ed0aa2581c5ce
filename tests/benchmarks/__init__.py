"""Measurements, with threads that wait as they do in an audit: `import audit` comes before torch."""

import audit  # noqa: F401
