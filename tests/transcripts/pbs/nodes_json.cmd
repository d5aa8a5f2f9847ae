pbsnodes -a -F json
