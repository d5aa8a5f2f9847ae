squeue -h -r -t all -j 999999,28 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
