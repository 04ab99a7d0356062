"""Files of the user's to documents: found, read line by line, and cut into chunks.

`sources` finds the files, `tables` and `records` read them, `reading` goes through all of them, and `chunks` cuts.
"""
