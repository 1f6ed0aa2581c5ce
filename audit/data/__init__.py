"""The samples: what they are, which are left out, their split, what is wrong beside labels, injected mislabels."""
