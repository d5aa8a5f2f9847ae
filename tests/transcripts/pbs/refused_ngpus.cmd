qsub -l select=1:ngpus=1 arr.sh
