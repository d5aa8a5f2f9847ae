squeue -h -r -t all -j 47,47 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
