"""The script of a solver's job: its inputs brought to where it is started."""

# Runs once for every rank: what every rank does alike can be done by all of them at once.
PAYLOAD = """\
# fcidump.txt, the solver's words, and last the folder of this subspace's own inputs
link() { ln "$1" "$2" 2>/dev/null || ln -s "$1" "$2" 2>/dev/null || [ -e "$2" ]; }
inputs=${!#}
link "$1" fcidump.txt
if [ "$inputs" != . ]; then
  for file in "$inputs"/*; do link "$file" "${file##*/}"; done
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "${@:2:$#-2}"
"""
