"""The embedded solver as a program: Dice's input, its iterations and its words, its output files."""
