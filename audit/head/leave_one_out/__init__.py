"""Leave-one-out predictions of the head in closed form, without training it again: one file per method."""
