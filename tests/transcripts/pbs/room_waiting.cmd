qselect -u pbsu -T -s HQTW
