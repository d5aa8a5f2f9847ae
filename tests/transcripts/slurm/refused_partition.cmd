sbatch --parsable /tmp/jobs/partition.slurm
