qsub -terse -S /bin/bash -o /home/hpcuser/jobs -j y -wd /home/hpcuser/jobs -P nosuch /home/hpcuser/jobs/x.sh 0
