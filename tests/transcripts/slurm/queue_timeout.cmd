squeue -h -r -t all -j 44 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
