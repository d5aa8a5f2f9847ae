squeue -h -r -t all -j 32,32 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
