squeue -h -a -r -t all --name=array_abcd2345 -o '%F|%j'
