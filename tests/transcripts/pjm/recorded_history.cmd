pjstat -s -E --data --choose=jid,adt,rscg,st 34716159 -H day=365
