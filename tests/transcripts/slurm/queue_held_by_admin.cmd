squeue -h -r -t all -j 27 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
