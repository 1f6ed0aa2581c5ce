"""Tasks for annotation tools: the flagged samples, with the suggested labels as pre-annotations."""
