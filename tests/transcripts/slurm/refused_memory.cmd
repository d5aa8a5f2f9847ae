sbatch --parsable /tmp/jobs/memory.slurm
