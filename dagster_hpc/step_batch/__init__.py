"""The queue of one allocation: steps that wait in a shared folder, and the program that runs them inside a held job.

`submit`, `query` and `cancel` are commands on the login node; `holder` runs in the held job. They meet in the folder
only, so nothing but a shared file system is between them. These files use the standard library alone: they are placed
beside the held job, whose nodes need not have this package.
"""
