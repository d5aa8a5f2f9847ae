scontrol -M testing show config
