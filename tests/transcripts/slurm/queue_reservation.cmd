squeue -h -r -t all -j 29 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
