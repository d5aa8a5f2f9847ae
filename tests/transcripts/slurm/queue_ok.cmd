squeue -h -r -t all -j 34 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
