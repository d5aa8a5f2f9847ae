flux batch x.flux
