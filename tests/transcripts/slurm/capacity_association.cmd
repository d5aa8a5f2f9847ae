sbatch --parsable /tmp/jobs/third.slurm
