squeue -h -r -t all -j 36 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
