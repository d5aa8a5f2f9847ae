squeue -h -r -t all -j 37 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
