sbatch --parsable /tmp/jobs/ok.slurm
