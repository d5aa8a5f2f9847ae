"""The names of Dice's files, beside that of the Hamiltonian."""

INPUT, ALPHA, BETA = "input.dat", "AlphaDets.bin", "BetaDets.bin"
ENERGY, DETERMINANTS, SPIN_RDM = "shci.e", "dets.bin", "spin1RDM.0.0.txt"
OUTPUT = "dice.out"  # all that it says
