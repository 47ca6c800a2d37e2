"""Outside systems that keep secrets: one file each, with the abilities it has.

Protects: a connector's own credential goes to the one origin that gateway.toml gives it (or the
    system's published one), over TLS, without redirects. What a system answers is data: bounded,
    checked, and masked once more.
Does not protect: what the system itself does with the credential.
Today's ability is ``inventory``: names, dates, environments and previews of what is kept there.
"""
