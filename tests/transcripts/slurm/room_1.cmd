scontrol -o show partition cpu
