qstat -f -1 12.torque.example.org
