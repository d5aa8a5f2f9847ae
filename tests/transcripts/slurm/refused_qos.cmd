sbatch --parsable /tmp/jobs/qos.slurm
