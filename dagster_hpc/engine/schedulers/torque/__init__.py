"""Torque, and the commands that Slurm brings for Torque's users."""
