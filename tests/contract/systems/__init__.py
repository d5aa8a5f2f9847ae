"""The batch systems of the contract suite, one file each: the real one where it can be had, else its simulator."""
