lsid
