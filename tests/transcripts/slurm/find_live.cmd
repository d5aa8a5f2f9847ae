squeue -h -a -r -t all --name=fills_abcd2345 -o '%F|%j'
