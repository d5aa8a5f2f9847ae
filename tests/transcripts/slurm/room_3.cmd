sacctmgr -n -P show assoc user=root format=Cluster,Account,Partition,DefaultQOS
