pjstat -s -E --data --choose=jid,adt,rscg,st 34716159 34716160 34716168 34716168[1] 34716168[2]
