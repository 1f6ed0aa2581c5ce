"""What is written to disk: whole files or none, result folders, and text that is safe in a spreadsheet."""
