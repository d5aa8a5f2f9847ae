"""Electrons in orbitals: integrals, determinants, the Hamiltonian among them, states and what they say."""
