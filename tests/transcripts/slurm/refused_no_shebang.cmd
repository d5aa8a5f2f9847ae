sbatch --parsable /tmp/jobs/no_shebang.slurm
