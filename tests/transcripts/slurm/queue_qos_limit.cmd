squeue -h -r -t all -j 33 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
