squeue -h -r -t all -j 51_100 -o '%i|%T|%r|%V|%S|%e|%D|%C|%N|%j'
