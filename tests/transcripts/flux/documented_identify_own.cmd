flux lsattr -v
