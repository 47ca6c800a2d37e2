"""A live Kubernetes cluster, read with the user's own kubeconfig. Only when it is asked for.

Protects: the kubeconfig's credentials go to the cluster it names, over verified TLS, and into no
    file; values of secrets are looked at in memory.
Does not protect: against a kubeconfig that names a program as a credential plugin: it is run, as
    kubectl runs it. Use kubeconfigs that you trust.
Limits: what the user's role may not list is reported and not read.
"""
