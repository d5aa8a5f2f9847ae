squeue -h -r -t all -j 18 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
