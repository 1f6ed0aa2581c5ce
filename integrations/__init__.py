"""How people and other tools reach the audit: the command, FiftyOne, and the sources of labelled images."""
