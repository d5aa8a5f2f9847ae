sbatch --parsable /tmp/jobs/reservation.slurm
