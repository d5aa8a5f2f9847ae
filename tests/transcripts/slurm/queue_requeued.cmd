squeue -h -r -t all -j 49 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
