"""Scripts in place of a Dice that reads other things than it is given. What they say is what the real ones said."""

from __future__ import annotations

import sys

EMBEDDED = f"{sys.executable} -m dagster_hpc.dice.pyscf_solver"

# The stock Dice starts from the occupied orbitals of input.dat: here, from the lowest alpha and the lowest beta string.
ONE_DETERMINANT = f"""\
for spin in Alpha Beta; do cp ${{spin}}Dets.bin $spin.keep; head -c 16 $spin.keep >${{spin}}Dets.bin; done
{EMBEDDED}
code=$?
for spin in Alpha Beta; do mv -f $spin.keep ${{spin}}Dets.bin; done
exit $code
"""

# Counts the electrons of the first string of AlphaDets.bin, as these two forks read it, and compares it with what half of
# the electrons, rounded down, are; neither looks at BetaDets.bin.
_COUNTED = """\
import sys
from pathlib import Path
size, electrons = int(sys.argv[1]), int(Path("fcidump.txt").read_text().split("NELEC=")[1].split(",")[0])
found = int.from_bytes(Path("AlphaDets.bin").read_bytes()[:size], "big").bit_count()
if found != electrons // 2:
    print(f"not enough 1 bits {electrons // 2}  {found}")
    raise SystemExit(1)
"""
ALPHA_ONLY = f"{sys.executable} -c '{_COUNTED}' 16 && cp AlphaDets.bin BetaDets.bin && exec {EMBEDDED}"
FIVE_BYTES = f"{sys.executable} -c '{_COUNTED}' 5"

# A Dice that was compiled with DetLen 2.
UP_TO_63 = """\
if grep -q 'NORB=64' fcidump.txt; then echo 'change DetLen in global.h to 3 and recompile '; exit 1; fi
"""
