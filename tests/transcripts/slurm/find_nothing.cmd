squeue -h -a -r -t all --name=nothing_zzzz9999 -o '%F|%j'
