qsub -terse -S /bin/bash -o /home/hpcuser/jobs -j y -wd /home/hpcuser/jobs -t 1-9 /home/hpcuser/jobs/x.sh 0
