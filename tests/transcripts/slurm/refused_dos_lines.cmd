sbatch --parsable /tmp/jobs/dos_lines.slurm
