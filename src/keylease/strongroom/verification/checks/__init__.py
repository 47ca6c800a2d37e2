"""One file for each family of providers: what is asked, and what the answers mean.

Every request only reads, costs nothing and changes nothing. Hosts stand here, as code, like those
of the catalogue: no file that is scanned and no argument of a scan can change where a key goes.
"""
