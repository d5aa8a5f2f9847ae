squeue -h -r -t all -j 999999 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
