"""Why a sample is suspect: the training samples that help and harm the prediction of its label."""
