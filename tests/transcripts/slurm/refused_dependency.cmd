sbatch --parsable /tmp/jobs/dependency.slurm
