"""Pictures: which files are opened, and how they become 8-bit RGB."""
