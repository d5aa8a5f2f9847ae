"""Watching jobs: what the scheduler says, what their own files say, and the verdict from both."""
