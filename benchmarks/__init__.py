"""Measurements. Each prints a table and says what it compared with what, in the same run on the same machine."""
