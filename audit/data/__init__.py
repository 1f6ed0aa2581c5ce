"""The samples of an audit: reading them, leaving some out, their split, and injected mislabels."""
