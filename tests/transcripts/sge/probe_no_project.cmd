qconf -sprj ab12
