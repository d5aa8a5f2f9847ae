squeue -h -r -t all -j 59 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
