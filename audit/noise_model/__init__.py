"""How likely each label is wrong: a latent-label model, its readings, and controls with known mislabels."""
