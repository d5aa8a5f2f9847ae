sbatch --parsable /tmp/jobs/after.slurm
