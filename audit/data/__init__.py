"""The samples of an audit: reading them, leaving some out, their split, findings, and injected mislabels."""
