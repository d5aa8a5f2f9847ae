squeue -h -r -t all -j 38 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
