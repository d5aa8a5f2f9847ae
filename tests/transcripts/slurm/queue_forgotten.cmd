squeue -h -r -t all -j 999999,999998 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
