"""The names of Dice's files."""

FCIDUMP, INPUT, ALPHA, BETA = "fcidump.txt", "input.dat", "AlphaDets.bin", "BetaDets.bin"
ENERGY, DETERMINANTS, SPIN_RDM = "shci.e", "dets.bin", "spin1RDM.0.0.txt"
OUTPUT = "dice.out"  # all that it says
