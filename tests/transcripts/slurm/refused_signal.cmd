sbatch --parsable /tmp/jobs/signal.slurm
