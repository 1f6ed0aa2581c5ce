"""The report and the App in a real Chromium."""
