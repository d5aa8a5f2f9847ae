sbatch --parsable /tmp/jobs/array.slurm
