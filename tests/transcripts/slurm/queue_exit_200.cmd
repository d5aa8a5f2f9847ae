squeue -h -r -t all -j 39 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
