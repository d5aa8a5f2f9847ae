sbatch --parsable /tmp/jobs/time.slurm
