qselect -u pbsu -T -s EHQRSTUW
