sbatch -M testing --parsable /tmp/jobs/ok.slurm
