"""What a process gives up before it works: debuggers, dumps, other users' and other zones' files.

Each protection that is tried answers with a ``Measure``: on, or off and why. Nothing here knows a
zone.
"""
