sbatch --parsable /tmp/jobs/account.slurm
