sbatch --parsable /tmp/jobs/feature.slurm
