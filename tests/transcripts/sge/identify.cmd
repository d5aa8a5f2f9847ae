sh -c 'master=$(qconf -sss) && echo "master $master" && echo "cell ${SGE_CELL:-default}"'
