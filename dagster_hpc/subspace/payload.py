"""The script of a solver's job: its inputs brought to where it is started."""

FCIDUMP = "fcidump.txt"  # the Hamiltonian, in the directory that a solver is started in

# Given are the FCIDUMP file, the solver's words, and last the folder of this subspace's own inputs. It runs once for every
# rank: what every rank does alike can be done by all of them at once.
INPUTS = f"""\
link() {{ ln "$1" "$2" 2>/dev/null || ln -s "$1" "$2" 2>/dev/null || [ -e "$2" ]; }}
inputs=${{!#}}
link "$1" {FCIDUMP}
if [ "$inputs" != . ]; then
  for file in "$inputs"/*; do link "$file" "${{file##*/}}"; done
fi
"""
WORDS = '"${@:2:$#-2}"'  # the solver's
ONE_THREAD = 'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"\n'  # where ranks take the place of threads

PAYLOAD = f"{INPUTS}{ONE_THREAD}exec {WORDS}\n"
