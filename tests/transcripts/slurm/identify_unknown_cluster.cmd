scontrol -M nosuch show config
