sbatch --parsable /tmp/jobs/more.slurm
