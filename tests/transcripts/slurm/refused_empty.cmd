sbatch --parsable /tmp/jobs/empty.slurm
