"""The typed summary of an audit, a subject a file, and the JSON Schema of summary.json, which is made from it."""
