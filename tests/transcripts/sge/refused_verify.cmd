qsub -terse -S /bin/bash -o /home/hpcuser/jobs -j y -wd /home/hpcuser/jobs -w e -pe smp 99 /home/hpcuser/jobs/x.sh 0
