squeue -h -r -t all -j 26 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
