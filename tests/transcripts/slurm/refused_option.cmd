sbatch --parsable /tmp/jobs/option.slurm
