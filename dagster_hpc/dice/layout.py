"""The names of Dice's files, beside that of the Hamiltonian."""

INPUT, ALPHA, BETA = "input.dat", "AlphaDets.bin", "BetaDets.bin"
ENERGY, DETERMINANTS, SPIN_RDM = "shci.e", "dets.bin", "spin1RDM.0.0.txt"  # of the lowest state
OUTPUT = "dice.out"  # all that it says


def determinants_of(root: int) -> str:
    """The file of one of several states; 0 is the lowest."""
    return DETERMINANTS if root == 0 else f"dets_{root}.bin"


def spin_rdm_of(root: int) -> str:
    return f"spin1RDM.{root}.{root}.txt"
