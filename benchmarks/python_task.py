"""The Python program with which calls of functions are compared: it computes a value and keeps it, as a call does."""

TASK = """\
import pickle, sys
number = int(sys.argv[1])
with open(f"value.{number}", "wb") as file:
    pickle.dump(abs(-number), file)
"""
