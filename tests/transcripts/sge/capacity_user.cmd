qsub -terse -S /bin/bash -o /home/hpcuser/jobs -j y -wd /home/hpcuser/jobs /home/hpcuser/jobs/x.sh 0
