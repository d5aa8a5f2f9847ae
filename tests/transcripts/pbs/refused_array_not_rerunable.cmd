qsub -J 0-1 -r n arr.sh
