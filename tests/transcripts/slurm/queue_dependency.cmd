squeue -h -r -t all -j 17 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
