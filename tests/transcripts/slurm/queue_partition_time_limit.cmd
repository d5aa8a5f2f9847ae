squeue -h -r -t all -j 23 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
