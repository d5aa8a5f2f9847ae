sbatch --parsable /tmp/jobs/second.slurm
