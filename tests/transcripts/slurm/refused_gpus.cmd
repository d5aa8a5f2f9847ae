sbatch --parsable /tmp/jobs/gpus.slurm
