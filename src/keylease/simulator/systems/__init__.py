"""Stand-ins for outside systems that keep secrets, in the formats that they publish.

They list what a test put in, in pages, and know one credential; they misbehave when told to. They
hold masked previews only: no stand-in has a value to give out.
"""
