squeue -h -r -t all -j 999999,33 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
