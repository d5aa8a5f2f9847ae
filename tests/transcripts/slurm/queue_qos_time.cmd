squeue -h -r -t all -j 30 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
