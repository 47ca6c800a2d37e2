"""The gateway's side of the link: the only connections between a strongroom and the platform."""
