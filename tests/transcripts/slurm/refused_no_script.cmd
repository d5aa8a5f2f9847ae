sbatch --parsable /tmp/jobs/nowhere.slurm
